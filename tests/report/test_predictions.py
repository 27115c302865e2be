from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from contract import image_set
from data_sources.cifar_format import CIFAR10
from pipeline_def.code_version import ROOT
from report import data, predictions
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


@pytest.mark.parametrize("name", ["pushed", "refused"])  # without a baseline, and with one
def test_the_evaluator_writes_what_the_candidate_predicts(request, name):
    stages = request.getfixturevalue(name).record["stages"]
    examples, schema, model, evaluation = (
        stages[stage]["outputs"][output]
        for stage, output in (
            ("CifarExampleGen", "examples"),
            ("CifarExampleGen", "schema"),
            ("Trainer", "model"),
            ("Evaluator", "evaluation"),
        )
    )
    batches = data.read_batches(examples, "eval", image_set.read(schema))
    found = predictions.read(evaluation, batches)

    records = np.fromfile(ROOT / "data_sources/sample/test_batch.bin", np.uint8)
    records = records.reshape(-1, 3073)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    candidate = tf.saved_model.load(str(Path(model) / "Format-Serving"))
    expected = candidate.signatures["serving_default"](images=tf.constant(images))
    probabilities = expected["probabilities"].numpy()
    places = [int(key.removeprefix("test_batch.bin:")) for key in found.keys]
    assert sorted(places) == [*range(len(records))]
    assert found.labels.tolist() == records[places, 0].tolist()
    assert found.predicted.tolist() == probabilities.argmax(axis=1)[places].tolist()
    np.testing.assert_allclose(
        found.confidence, probabilities.max(axis=1)[places], rtol=0, atol=1e-5
    )


def test_examples_that_were_not_evaluated_are_named(tmp_path, pushed):
    stages = pushed.record["stages"]
    images = image_set.read(stages["CifarExampleGen"]["outputs"]["schema"])
    batches = data.read_batches(
        stages["CifarExampleGen"]["outputs"]["examples"], "train", images
    )
    with pytest.raises(ValueError, match=r"no predictions of 1,000 examples, such as data_"):
        predictions.read(stages["Evaluator"]["outputs"]["evaluation"], batches)
