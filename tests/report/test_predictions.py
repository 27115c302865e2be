import numpy as np
import pytest

from data_sources.cifar_format import CIFAR10
from report import predictions
from report.data import Split

CLASS_NAMES = CIFAR10.class_names

CAT, DOG, SHIP = 3, 5, 8


def sure_of(label: int, confidence: float) -> np.ndarray:
    """Returns probabilities: `confidence` for one class, the rest spread over the others."""
    row = np.full(len(CLASS_NAMES), (1 - confidence) / (len(CLASS_NAMES) - 1))
    row[label] = confidence
    return row


def test_calibration_is_the_distance_of_confidence_and_accuracy():
    # Twice 75 % sure, once right: off by 0.25. Twice 95 % sure and right: off by 0.05.
    labels = np.array([CAT, CAT, CAT, CAT])
    probabilities = np.stack(
        [sure_of(CAT, 0.75), sure_of(DOG, 0.75), sure_of(CAT, 0.95), sure_of(CAT, 0.95)]
    )
    found = predictions.calibration(labels, probabilities)
    assert [b.images for b in found.bins] == [2, 2]
    assert [b.accuracy for b in found.bins] == [0.5, 1.0]
    assert found.expected_error == pytest.approx((2 * 0.25 + 2 * 0.05) / 4)


def test_the_surest_mistakes_come_first_and_right_answers_not_at_all():
    split = Split(
        images=np.zeros((3, 32, 32, 3), np.uint8),
        labels=np.array([CAT, CAT, CAT]),
        keys=["a:0", "a:1", "a:2"],
    )
    probabilities = np.stack([sure_of(DOG, 0.6), sure_of(CAT, 0.99), sure_of(SHIP, 0.9)])
    mistakes = predictions.confident_mistakes(split, probabilities, CLASS_NAMES)
    assert [(m.key, m.label, m.predicted) for m in mistakes] == [
        ("a:2", "cat", "ship"),
        ("a:0", "cat", "dog"),
    ]
