"""The predictions of the candidate on eval: its mistakes and its confidence."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from contract import eval_predictions
from report import confusions, pictures
from report.data import Split
from report.facts import Calibration, CalibrationBin, Mistake, PredictionFacts

CONFIDENCE_BINS = 10
MISTAKES = 24


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a model predicts for each example of a split, in the order of the batch files.

    Attributes:
        labels: int64, shape (n,).
        predicted: The most probable label; int64, shape (n,).
        confidence: Its probability; float32, shape (n,).
        keys: `file:record` of each.
    """

    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    keys: list[str]

    def mistakes(self) -> list[int]:
        """Returns the indices of the wrong ones, the most confident first."""
        wrong = np.flatnonzero(self.predicted != self.labels)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")].tolist()

    def pictured(self) -> set[int]:
        """Returns the indices of those whose images `prediction_facts` shows."""
        mistakes = self.mistakes()
        pairs = confusions.pairs(mistakes, self.labels, self.predicted)
        return {*mistakes[:MISTAKES], *(index for pair in pairs for index in pair.pictured)}


def read(evaluation_dir: str, batches: Iterable[Split]) -> Predictions:
    """Returns the predictions that the Evaluator wrote, in the order of the examples.

    Args:
        evaluation_dir: The Evaluator's evaluation.
        batches: The examples; at least one.

    Raises:
        ValueError: The Evaluator did not predict all of these examples.
    """
    labels, keys = [], []
    for batch in batches:
        labels.append(batch.labels)
        keys += batch.keys
    table = eval_predictions.read(evaluation_dir)
    rows = {key: row for row, key in enumerate(table["key"].to_pylist())}
    if missing := [key for key in keys if key not in rows]:
        raise ValueError(
            f"{evaluation_dir} has no predictions of {len(missing):,} examples, such as "
            f"{missing[0]}. Run the Evaluator on these examples."
        )
    order = [rows[key] for key in keys]
    return Predictions(
        np.concatenate(labels),
        table["class_id"].to_numpy()[order],
        table["probability"].to_numpy()[order],
        keys,
    )


def prediction_facts(
    predictions: Predictions, images: Mapping[int, np.ndarray], class_names: Sequence[str]
) -> PredictionFacts:
    """Returns calibration and mistakes.

    Args:
        predictions: Those of the candidate.
        images: uint8, shape (height, width, 3), of those that are `pictured`, by index.
        class_names: In the order of the labels.
    """
    mistakes = predictions.mistakes()
    pairs = confusions.pairs(mistakes, predictions.labels, predictions.predicted)
    return PredictionFacts(
        calibration=calibration(predictions),
        mistakes=confident_mistakes(predictions, images, class_names),
        confusions=[confusions.confusion(pair, images, predictions.keys) for pair in pairs],
    )


def calibration(predictions: Predictions) -> Calibration:
    """Returns the accuracy at each level of confidence."""
    confidence = predictions.confidence
    is_right = predictions.predicted == predictions.labels
    numbers = np.minimum((confidence * CONFIDENCE_BINS).astype(int), CONFIDENCE_BINS - 1)
    bins = [
        CalibrationBin(
            images=int(inside.sum()),
            confidence=float(confidence[inside].mean()),
            accuracy=float(is_right[inside].mean()),
        )
        for inside in (numbers == number for number in range(CONFIDENCE_BINS))
        if inside.any()
    ]
    error = sum(b.images * abs(b.confidence - b.accuracy) for b in bins) / len(is_right)
    return Calibration(bins, error)


def confident_mistakes(
    predictions: Predictions, images: Mapping[int, np.ndarray], class_names: Sequence[str]
) -> list[Mistake]:
    """Returns the mistakes with the highest confidence, highest first, with pictures."""
    return [
        Mistake(
            key=predictions.keys[index],
            label=class_names[predictions.labels[index]],
            predicted=class_names[predictions.predicted[index]],
            confidence=float(predictions.confidence[index]),
            picture=pictures.data_uri(images[index]),
        )
        for index in predictions.mistakes()[:MISTAKES]
    ]
