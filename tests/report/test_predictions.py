import numpy as np
import pytest

from data_sources.cifar_format import CIFAR10
from report import predictions
from report.predictions import Predictions

CLASS_NAMES = CIFAR10.class_names

CAT, DOG, SHIP = 3, 5, 8


def test_calibration_is_the_distance_of_confidence_and_accuracy():
    # Twice 75% sure, once right: off by 0.25. Twice 95% sure and right: off by 0.05.
    found = predictions.calibration(
        Predictions(
            labels=np.array([CAT, CAT, CAT, CAT]),
            predicted=np.array([CAT, DOG, CAT, CAT]),
            confidence=np.array([0.75, 0.75, 0.95, 0.95], np.float32),
            keys=["a:0", "a:1", "a:2", "a:3"],
        )
    )
    assert [b.images for b in found.bins] == [2, 2]
    assert [b.accuracy for b in found.bins] == [0.5, 1.0]
    assert found.expected_error == pytest.approx((2 * 0.25 + 2 * 0.05) / 4)


def test_the_surest_mistakes_come_first_and_right_answers_not_at_all():
    found = Predictions(
        labels=np.array([CAT, CAT, CAT]),
        predicted=np.array([DOG, CAT, SHIP]),
        confidence=np.array([0.6, 0.99, 0.9], np.float32),
        keys=["a:0", "a:1", "a:2"],
    )
    assert found.pictured() == {0, 2}
    pictured = {index: np.zeros((32, 32, 3), np.uint8) for index in found.pictured()}
    mistakes = predictions.confident_mistakes(found, pictured, CLASS_NAMES)
    assert [(m.key, m.label, m.predicted) for m in mistakes] == [
        ("a:2", "cat", "ship"),
        ("a:0", "cat", "dog"),
    ]
