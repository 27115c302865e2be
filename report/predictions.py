"""The predictions of the candidate on eval: its mistakes and its confidence."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from contract import signatures
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


def predict(model_dir: str, batches: Iterable[Split]) -> Predictions:
    """Returns the predictions of a SavedModel for examples that need not fit in memory.

    Args:
        model_dir: The folder of `saved_model.pb`.
        batches: The examples; at least one.
    """
    signature = tf.saved_model.load(model_dir).signatures[signatures.PIXELS]
    labels, predicted, confidence = [], [], []
    keys: list[str] = []
    for batch in batches:
        probabilities = signature(images=tf.constant(batch.images))["probabilities"].numpy()
        labels.append(batch.labels)
        predicted.append(probabilities.argmax(axis=1))
        confidence.append(probabilities.max(axis=1))
        keys += batch.keys
    return Predictions(
        np.concatenate(labels), np.concatenate(predicted), np.concatenate(confidence), keys
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
