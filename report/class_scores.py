"""The scores of the candidate on each class, from the Evaluator's confusion matrix."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class ClassScore:
    """The scores of one class; 0 where there are no images.

    Attributes:
        images: The number of images of the class.
        recall: The fraction of them that were recognized; the gate calls it accuracy.
        precision: The fraction of the predictions of this class that are correct.
        f1: The harmonic mean of both.
        confused_with: The most frequent wrong prediction; None without any.
        confused_fraction: The fraction of its images with that prediction.
    """

    name: str
    images: int
    recall: float
    precision: float
    f1: float
    confused_with: str | None
    confused_fraction: float


def class_scores(
    confusion: Sequence[Sequence[int]], class_names: Sequence[str]
) -> list[ClassScore]:
    """Returns the scores of each class, from a matrix as in `Metrics.confusion`."""
    return [_score(confusion, class_names, label) for label in range(len(confusion))]


def _score(
    confusion: Sequence[Sequence[int]], class_names: Sequence[str], label: int
) -> ClassScore:
    images = sum(confusion[label])
    predicted = sum(row[label] for row in confusion)
    right = confusion[label][label]
    errors = [0 if other == label else count for other, count in enumerate(confusion[label])]
    most = max(errors)
    return ClassScore(
        name=class_names[label],
        images=images,
        recall=right / max(images, 1),
        precision=right / max(predicted, 1),
        f1=2 * right / max(images + predicted, 1),
        confused_with=class_names[errors.index(most)] if most else None,
        confused_fraction=most / max(images, 1),
    )
