"""What is read of the Evaluator, against what the model itself answers."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from contract import records
from contract.files import FACTS_FILE
from data_sources.cifar_format import CIFAR10
from data_sources.dataset import SAMPLE_DIR
from report import evaluation
from report.facts import Report

BYTES_PER_RECORD = 3073


@pytest.fixture(scope="module")
def metrics(pushed):
    found = evaluation.read_metrics(
        pushed.record["stages"]["Evaluator"]["outputs"]["evaluation"], CIFAR10.class_names
    )
    assert found is not None
    return found


def test_the_confusion_matrix_counts_what_the_model_answers(pushed, metrics):
    batch = np.fromfile(SAMPLE_DIR / "test_batch.bin", np.uint8).reshape(-1, BYTES_PER_RECORD)
    images = batch[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    model = tf.saved_model.load(pushed.record["pushed_path"])
    predicted = model.signatures["serving_default"](images=tf.constant(images))["class_ids"]
    expected = np.zeros((10, 10), int)
    np.add.at(expected, (batch[:, 0], predicted.numpy().ravel()), 1)
    assert metrics.confusion == expected.tolist()


def test_a_class_is_as_accurate_as_its_row_says(metrics):
    for row, (label, accuracy) in zip(
        metrics.confusion, enumerate(metrics.class_accuracy.values()), strict=True
    ):
        assert row[label] / sum(row) == pytest.approx(accuracy)


def test_what_report_gen_keeps_is_read_as_it_was(pushed, metrics):
    folder = pushed.record["stages"]["ReportGen"]["outputs"]["report"]
    report = records.from_json(Report, Path(folder, FACTS_FILE).read_text())
    assert report.facts.evaluation == metrics
    assert report.facts.training.record.steps == 60
    assert "loss" in report.plots
