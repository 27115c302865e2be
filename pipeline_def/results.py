"""What a run came to: the numbers of `run.json`, read from the artifacts it made."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import validation_result_pb2
from tfx import types

from components import baseline_model
from components.evaluator import ACCURACY, CROSS_ENTROPY, TOP_3
from pipeline_def.config import PipelineConfig
from trainer_module import features

CANDIDATE = ""  # the names TFMA gives the two models of an unnamed spec
BASELINE = "baseline"


def read_results(
    config: PipelineConfig, outputs: Mapping[str, Mapping[str, types.Artifact]]
) -> dict[str, Any]:
    """Returns the results of a run whose nodes have all completed.

    Args:
        config: The run's config.
        outputs: Node name → output name → artifact.
    """
    pushed = outputs["Pusher"]["pushed_model"]
    is_pushed = bool(pushed.get_int_custom_property("pushed"))
    training = json.loads(
        (Path(outputs["Trainer"]["model_run"].uri) / "training.json").read_text()
    )
    return {
        "status": "pushed" if is_pushed else "not_blessed",
        **read_evaluation(outputs["Evaluator"]["evaluation"].uri),
        "blessed": bool(outputs["Evaluator"]["blessing"].get_int_custom_property("blessed")),
        "gate": {
            "min_accuracy": config.min_accuracy,
            "max_accuracy_drop": config.max_accuracy_drop,
            "baseline_version": outputs["BaselineModel"]["model"].get_string_custom_property(
                baseline_model.VERSION_PROPERTY
            )
            or None,
            "baseline_accuracy": baseline_accuracy(outputs["Evaluator"]["evaluation"].uri),
            "refusals": refusals(outputs["Evaluator"]["evaluation"].uri),
        },
        "pushed_version": (
            pushed.get_string_custom_property("pushed_version") if is_pushed else None
        ),
        "pushed_path": (
            pushed.get_string_custom_property("pushed_destination") if is_pushed else None
        ),
        "train_steps": training["steps"],
        "examples_per_second": training["examples_per_second"],
        "training": training,
        "tensorboard_dir": outputs["Trainer"]["model_run"].uri,
    }


def read_evaluation(evaluation_dir: str) -> dict[str, Any]:
    """Returns the candidate's metrics on eval, overall and for each class."""
    result = tfma.load_eval_result(evaluation_dir, model_name=CANDIDATE)
    by_slice = {
        key: {name: value.get("doubleValue") for name, value in metrics[""][""].items()}
        for key, metrics in result.slicing_metrics
    }
    overall = by_slice[()]
    return {
        "accuracy": overall[ACCURACY],
        "top_3_accuracy": overall[TOP_3],
        "cross_entropy": overall[CROSS_ENTROPY],
        "eval_examples": int(overall["example_count"]),
        "class_accuracy": {
            features.CLASS_NAMES[key[0][1]]: metrics[ACCURACY]
            for key, metrics in sorted(by_slice.items())
            if key
        },
    }


def baseline_accuracy(evaluation_dir: str) -> float | None:
    """Returns the baseline's accuracy on eval, or None where there was no baseline."""
    for metrics in tfma.load_metrics(evaluation_dir):
        if metrics.slice_key.single_slice_keys:
            continue
        for entry in metrics.metric_keys_and_values:
            if (entry.key.name, entry.key.model_name) == (ACCURACY, BASELINE):
                return float(entry.value.double_value.value)
    return None


def refusals(evaluation_dir: str) -> list[str]:
    """Returns each threshold the candidate failed, in words; none if it was blessed."""
    validation = tfma.load_validation_result(evaluation_dir)
    return [
        _refusal(failure)
        for per_slice in validation.metric_validations_per_slice
        for failure in per_slice.failures
    ]


def _refusal(failure: validation_result_pb2.ValidationFailure) -> str:
    """Returns one failed threshold in words."""
    value = failure.metric_value.double_value.value
    threshold = failure.metric_threshold
    if failure.metric_key.is_diff:
        limit = -threshold.change_threshold.absolute.value
        return f"accuracy fell by {-value:.2%} against the baseline, {limit:.2%} is allowed"
    limit = threshold.value_threshold.lower_bound.value
    return f"accuracy is {value:.2%}, at least {limit:.2%} is asked for"
