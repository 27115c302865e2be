"""The predictions of the candidate on eval: its mistakes and its confidence."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from contract import signatures
from report import pictures
from report.confusions import confusions
from report.data import Split
from report.facts import Calibration, CalibrationBin, Mistake, PredictionFacts

CONFIDENCE_BINS = 10
MISTAKES = 24
_PREDICT_BATCH = 500


def predict(model_dir: str, images: np.ndarray) -> np.ndarray:
    """Returns the predictions of a SavedModel.

    Args:
        model_dir: Holds `saved_model.pb`.
        images: uint8, shape (n, height, width, 3).

    Returns:
        float32, shape (n, classes): probabilities.
    """
    signature = tf.saved_model.load(model_dir).signatures[signatures.PIXELS]
    return np.concatenate(
        [
            signature(images=tf.constant(images[start : start + _PREDICT_BATCH]))[
                "probabilities"
            ].numpy()
            for start in range(0, len(images), _PREDICT_BATCH)
        ]
    )


def prediction_facts(
    split: Split, probabilities: np.ndarray, class_names: Sequence[str]
) -> PredictionFacts:
    """Returns calibration and mistakes.

    Args:
        split: The examples.
        probabilities: float, shape (n, classes), of each.
        class_names: In the order of the labels.
    """
    return PredictionFacts(
        calibration=calibration(split.labels, probabilities),
        mistakes=confident_mistakes(split, probabilities, class_names),
        confusions=confusions(split, probabilities),
    )


def calibration(labels: np.ndarray, probabilities: np.ndarray) -> Calibration:
    """Returns the accuracy at each level of confidence."""
    confidence = probabilities.max(axis=1)
    is_right = probabilities.argmax(axis=1) == labels
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
    error = sum(b.images * abs(b.confidence - b.accuracy) for b in bins) / len(labels)
    return Calibration(bins, error)


def confident_mistakes(
    split: Split, probabilities: np.ndarray, class_names: Sequence[str]
) -> list[Mistake]:
    """Returns the mistakes the candidate was most sure of, surest first, with pictures."""
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != split.labels)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    return [
        Mistake(
            key=split.keys[index],
            label=class_names[split.labels[index]],
            predicted=class_names[predicted[index]],
            confidence=float(confidence[index]),
            picture=pictures.data_uri(split.images[index]),
        )
        for index in surest
    ]
