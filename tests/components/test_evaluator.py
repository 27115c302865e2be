"""The gate's thresholds on predictions written by hand, judged by TFMA and read back."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow_model_analysis as tfma
from google.protobuf import json_format

from benchmarks.stock_pipeline import stock_eval_config
from components.evaluator import Limits, complete_config, eval_config
from contract import features
from data_sources.cifar_format import CIFAR10
from report import evaluation
from report.facts import Gate

CLASSES = 10
CLASSES_OF_MANY = 20  # so many have a top 5


def judge(
    folder: Path,
    limits: Limits,
    labels: list[int],
    candidate: list[int],
    baseline: list[int] | None = None,
) -> Gate:
    """Returns the gate's verdict on predicted classes."""
    predicted = {"candidate": candidate} | ({"baseline": baseline} if baseline else {})
    columns = {name: list(np.eye(CLASSES)[classes]) for name, classes in predicted.items()}
    config = completed(limits)
    del config.model_specs[:]
    for name in predicted:
        config.model_specs.add(
            name=name if baseline else "",
            is_baseline=name == "baseline",
            label_key=features.LABEL,
            prediction_key=name,
        )
    data = pd.DataFrame({features.LABEL: labels, **columns})
    tfma.analyze_raw_data(data, config, output_path=str(folder))
    return evaluation.read_gate(
        str(folder),
        CIFAR10.class_names,
        limits.min_accuracy,
        limits.max_accuracy_drop,
        "17" if baseline else None,
    )


def completed(limits: Limits, num_classes: int = CLASSES) -> tfma.EvalConfig:
    """Returns the config that the Evaluator completes when it runs."""
    as_json = json_format.MessageToJson(eval_config(limits))
    return json_format.Parse(complete_config(as_json, num_classes), tfma.EvalConfig())


def right(labels: list[int], wrong: set[int]) -> list[int]:
    """Returns predictions that are wrong at the given places."""
    return [(x + 1) % CLASSES if place in wrong else x for place, x in enumerate(labels)]


LABELS = [place % CLASSES for place in range(40)]  # four of each class


def test_both_models_are_compared_image_by_image(tmp_path):
    baseline, candidate = right(LABELS, {0, 1, 2}), right(LABELS, {2, 3})
    gate = judge(tmp_path, Limits(max_accuracy_drop=0.1), LABELS, candidate, baseline)
    assert gate.refusals == []
    assert (gate.comparison.only_baseline, gate.comparison.only_candidate) == (1, 2)
    assert gate.comparison.p_value == 1.0
    assert gate.baseline_accuracy == pytest.approx(37 / 40)
    low, high = gate.interval
    assert low < 38 / 40 < high
    assert (
        "+2.5 points compared with version 17, -10.0 allowed; within noise (2 images"
        in gate.verdict
    )


def test_a_candidate_that_is_surely_worse_is_told_so_and_refused_past_the_limit(tmp_path):
    candidate = right(LABELS, set(range(8)))
    for name, limits in (("a", Limits(max_accuracy_drop=0.3)), ("b", Limits(0, 0.1))):
        gate = judge(tmp_path / name, limits, LABELS, candidate, LABELS)
        assert "significantly worse (0 images right that were wrong, 8 wrong" in gate.verdict
    assert gate.refusals == [
        "accuracy fell by 20.0 points compared with the baseline, 10.0 allowed"
    ]


def test_a_class_below_its_floor_is_named(tmp_path):
    candidate = right(LABELS, {3, 13, 23})  # three of four cats
    gate = judge(tmp_path, Limits(min_class_accuracy=0.5), LABELS, candidate)
    assert gate.refusals == ["cat: accuracy is 25.0%, at least 50.0% is required"]
    assert gate.comparison is None


def test_a_class_that_fell_too_far_is_named_though_the_whole_did_not_fall(tmp_path):
    baseline, candidate = right(LABELS, {8, 18, 28}), right(LABELS, {3, 13, 23})
    limits = Limits(max_accuracy_drop=0.0, max_class_accuracy_drop=0.5)
    gate = judge(tmp_path, limits, LABELS, candidate, baseline)
    assert gate.refusals == [
        "cat: accuracy fell by 75.0 points compared with the baseline, 50.0 allowed"
    ]


def test_a_class_that_the_baseline_never_got_right_refuses_nobody(tmp_path):
    baseline = right(LABELS, {3, 13, 23, 33})
    limits = Limits(max_accuracy_drop=0.2, max_class_accuracy_drop=0.5)
    assert judge(tmp_path / "a", limits, LABELS, baseline, baseline).refusals == []
    assert judge(tmp_path / "b", limits, LABELS, LABELS, baseline).refusals == []


def test_the_metrics_are_those_of_tfma(tmp_path):
    """Both evaluate random models, the images of which have equal probabilities and zeros."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES_OF_MANY, 2_500)
    logits = random.normal(size=(2, len(labels), CLASSES_OF_MANY)).astype(np.float32)
    logits[:, np.arange(len(labels)), labels] += 2
    logits = logits.round(1)  # so that some are equal
    logits[:, 0] = 0
    probabilities = np.exp(logits)
    probabilities /= probabilities.sum(axis=2, keepdims=True)
    probabilities[:, 1] = 0
    data = pd.DataFrame(
        {
            features.LABEL: labels,
            "candidate": list(probabilities[0]),
            "baseline": list(probabilities[1]),
        }
    )
    found = {}
    for name, config in (
        ("ours", completed(Limits(), CLASSES_OF_MANY)),
        ("stock", stock_eval_config(CLASSES_OF_MANY)),
    ):
        del config.model_specs[:]
        for model in ("candidate", "baseline"):
            config.model_specs.add(
                name=model,
                is_baseline=model == "baseline",
                label_key=features.LABEL,
                prediction_key=model,
            )
        tfma.analyze_raw_data(data, config, output_path=str(tmp_path / name))
        class_names = [str(label) for label in range(CLASSES_OF_MANY)]
        found[name] = [
            dataclasses.asdict(
                evaluation.read_metrics(str(tmp_path / name), class_names, model)
            )
            for model in (evaluation.CANDIDATE, evaluation.BASELINE)
        ]
    for ours, stock in zip(found["ours"], found["stock"], strict=True):
        assert 0.2 < ours["accuracy"] < ours["top_3_accuracy"] < ours["top_5_accuracy"] < 1
        for name, value in stock.items():
            is_number = isinstance(value, float) or name == "class_accuracy"
            assert ours[name] == (pytest.approx(value, rel=1e-6) if is_number else value), name
