"""The eval images with a wrong prediction, by true and predicted class."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from report import pictures
from report.facts import Confusion

MOST_PAIRS = 100  # of classes
PICTURES = 8  # of each


@dataclasses.dataclass(frozen=True)
class Pair:
    """The mistakes of one kind.

    Attributes:
        label: What the images are.
        predicted: What they were taken for.
        mistakes: Their indices, the most confident first.
    """

    label: int
    predicted: int
    mistakes: list[int]

    @property
    def pictured(self) -> list[int]:
        """Returns the indices of those that are shown."""
        return self.mistakes[:PICTURES]


def pairs(mistakes: Sequence[int], labels: np.ndarray, predicted: np.ndarray) -> list[Pair]:
    """Returns the pairs of classes that are confused, most frequent first.

    Args:
        mistakes: The indices of the wrong predictions, the most confident first.
        labels: int, shape (n,), of all images.
        predicted: The label predicted for each.
    """
    by_pair: dict[tuple[int, int], list[int]] = {}
    for index in mistakes:
        by_pair.setdefault((int(labels[index]), int(predicted[index])), []).append(index)
    most_often = sorted(by_pair.items(), key=lambda item: -len(item[1]))[:MOST_PAIRS]
    return [Pair(label, other, found) for (label, other), found in most_often]


def confusion(pair: Pair, images: Mapping[int, np.ndarray], keys: Sequence[str]) -> Confusion:
    """Returns a pair with its pictures.

    Args:
        pair: Two classes that are mixed up.
        images: Those of `pair.pictured`, by index.
        keys: `file:record` of all images.
    """
    shown = len(pair.pictured)
    sheet = pictures.sheet([images[index] for index in pair.pictured], shown)
    return Confusion(
        label=pair.label,
        predicted=pair.predicted,
        images=len(pair.mistakes),
        keys=[keys[index] for index in pair.pictured],
        picture=pictures.webp_uri(sheet),
        shown=shown,
    )
