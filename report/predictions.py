"""What the candidate says of eval, image by image: where it errs, and how sure it is."""

from typing import Any

import numpy as np
import tensorflow as tf

from contract import features, signatures
from report import pictures
from report.data import Split

CONFIDENCE_BINS = 10
MISTAKES = 24
_PREDICT_BATCH = 500


def predict(model_dir: str, images: np.ndarray) -> np.ndarray:
    """Returns what a SavedModel says of images.

    Args:
        model_dir: Holds `saved_model.pb`.
        images: uint8, shape (n, 32, 32, 3).

    Returns:
        float32, shape (n, 10): probabilities.
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


def prediction_facts(split: Split, probabilities: np.ndarray) -> dict[str, Any]:
    """Returns the confusion matrix, scores per class, calibration and mistakes, for JSON.

    Args:
        split: The examples.
        probabilities: float, shape (n, 10), of each.
    """
    matrix = confusion_matrix(split.labels, probabilities.argmax(axis=1))
    return {
        "confusion": matrix.tolist(),
        "classes": class_scores(matrix),
        "calibration": calibration(split.labels, probabilities),
        "mistakes": confident_mistakes(split, probabilities),
    }


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Returns how often each class (row) was called each class (column)."""
    count = features.NUM_CLASSES
    return np.bincount(labels * count + predicted, minlength=count**2).reshape(count, count)


def class_scores(matrix: np.ndarray) -> dict[str, dict[str, Any]]:
    """Returns, by class name, `images`, `recall`, `precision`, `f1` and `confused_with`.

    Recall is what the gate calls the accuracy of a class. A score of nothing is 0.
    """
    scores = {}
    for label, name in enumerate(features.CLASS_NAMES):
        images, called, right = (
            matrix[label].sum(),
            matrix[:, label].sum(),
            matrix[label, label],
        )
        errors = matrix[label].copy()
        errors[label] = 0
        scores[name] = {
            "images": int(images),
            "recall": float(right / max(images, 1)),
            "precision": float(right / max(called, 1)),
            "f1": float(2 * right / max(images + called, 1)),
            "confused_with": features.CLASS_NAMES[errors.argmax()] if errors.any() else None,
            "confused_share": float(errors.max() / max(images, 1)),
        }
    return scores


def calibration(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """Returns how often the candidate is right when it is so sure.

    Returns:
        `bins`: for each tenth of confidence that occurs, its images, mean confidence and
        accuracy. `expected_error`: their distance, averaged over images
        (Guo et al., On Calibration of Modern Neural Networks, 2017).
    """
    confidence = probabilities.max(axis=1)
    is_right = probabilities.argmax(axis=1) == labels
    numbers = np.minimum((confidence * CONFIDENCE_BINS).astype(int), CONFIDENCE_BINS - 1)
    bins = [
        {
            "images": int(inside.sum()),
            "confidence": float(confidence[inside].mean()),
            "accuracy": float(is_right[inside].mean()),
        }
        for inside in (numbers == number for number in range(CONFIDENCE_BINS))
        if inside.any()
    ]
    error = sum(b["images"] * abs(b["confidence"] - b["accuracy"]) for b in bins) / len(labels)
    return {"bins": bins, "expected_error": error}


def confident_mistakes(split: Split, probabilities: np.ndarray) -> list[dict[str, Any]]:
    """Returns the mistakes the candidate was most sure of, surest first, with pictures."""
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != split.labels)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    return [
        {
            "key": split.keys[index],
            "label": features.CLASS_NAMES[split.labels[index]],
            "predicted": features.CLASS_NAMES[predicted[index]],
            "confidence": float(confidence[index]),
            "picture": pictures.data_uri(split.images[index]),
        }
        for index in surest
    ]
