"""Reads the Evaluator's artifact: metrics, verdict and reasons."""

import dataclasses
from collections.abc import Sequence

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import validation_result_pb2

from contract.metrics import (
    ACCURACY,
    ACCURACY_CHANGE,
    CROSS_ENTROPY,
    EXAMPLE_COUNT,
    ONLY_BASELINE_RIGHT,
    ONLY_CANDIDATE_RIGHT,
    TOP_3,
    TOP_5,
)
from contract.percentages import percent, points
from report import certainty, intervals
from report.facts import Comparison, Gate, Metrics

# The names TFMA gives the models of an unnamed spec: the candidate's depends on whether
# there is a baseline.
CANDIDATE = ("", "candidate")
BASELINE = ("baseline",)


def read_metrics(
    evaluation_dir: str, class_names: Sequence[str], names: Sequence[str] = CANDIDATE
) -> Metrics | None:
    """Returns a model's metrics on eval, overall and for each class; None without the model.

    Args:
        evaluation_dir: The Evaluator's artifact.
        class_names: In the order of the labels.
        names: The possible names of the model in TFMA's output.
    """
    overall: dict[str, float] = {}
    by_label: dict[int, dict[str, float]] = {}
    for metrics in tfma.load_metrics(evaluation_dir):
        keys = metrics.slice_key.single_slice_keys
        target = by_label.setdefault(keys[0].int64_value, {}) if keys else overall
        target |= {
            entry.key.name: entry.value.double_value.value
            for entry in metrics.metric_keys_and_values
            if entry.key.model_name in names and not entry.key.is_diff
        }
    if ACCURACY not in overall:
        return None
    return Metrics(
        accuracy=overall[ACCURACY],
        top_3_accuracy=overall.get(TOP_3),
        top_5_accuracy=overall.get(TOP_5),
        cross_entropy=overall[CROSS_ENTROPY],
        eval_examples=int(overall[EXAMPLE_COUNT]),
        class_accuracy={
            class_names[label]: metrics[ACCURACY] for label, metrics in sorted(by_label.items())
        },
        confusion=read_confusion(evaluation_dir, len(class_names), names),
        class_names=list(class_names),
    )


def read_confusion(
    evaluation_dir: str, num_classes: int, names: Sequence[str]
) -> list[list[int]]:
    """Returns the confusion matrix: true classes in rows, predicted classes in columns."""
    matrix = [[0] * num_classes for _ in range(num_classes)]
    for plots in tfma.load_plots(evaluation_dir):
        if plots.slice_key.single_slice_keys:
            continue
        for plot in plots.plot_keys_and_values:
            if plot.key.model_name not in names:
                continue
            # At TFMA's one threshold, 0, the class with the highest probability is predicted.
            (matrix_at_0,) = plot.value.multi_class_confusion_matrix_at_thresholds.matrices
            for entry in matrix_at_0.entries:
                if entry.predicted_class_id >= 0:  # else no probability is above 0
                    row = matrix[entry.actual_class_id]
                    row[entry.predicted_class_id] = round(entry.num_weighted_examples)
    return matrix


def read_gate(
    evaluation_dir: str,
    class_names: Sequence[str],
    min_accuracy: float,
    max_accuracy_drop: float,
    baseline_version: str | None,
) -> Gate:
    """Returns the thresholds, the comparison and the verdict of the gate.

    Args:
        evaluation_dir: The Evaluator's artifact.
        class_names: In the order of the labels.
        min_accuracy: The required accuracy, a fraction.
        max_accuracy_drop: The allowed drop from the baseline's accuracy, a fraction.
        baseline_version: The pushed version that the candidate was compared with, if any.

    Raises:
        ValueError: The Evaluator's artifact contains no metrics of the candidate.
    """
    candidate = read_metrics(evaluation_dir, class_names)
    baseline = read_metrics(evaluation_dir, class_names, BASELINE)
    if candidate is None:
        raise ValueError(f"{evaluation_dir} holds no metrics of the candidate.")
    gate = Gate(
        min_accuracy=min_accuracy,
        max_accuracy_drop=max_accuracy_drop,
        interval=intervals.wilson(candidate.accuracy, candidate.eval_examples),
        baseline_version=baseline_version,
        baseline_accuracy=baseline.accuracy if baseline else None,
        comparison=read_comparison(evaluation_dir),
        refusals=refusals(evaluation_dir, class_names),
    )
    return dataclasses.replace(gate, verdict=verdict(candidate.accuracy, gate))


def verdict(accuracy: float, gate: Gate) -> str:
    """Returns the decision of the gate in words, with its numbers."""
    compared = f"; {certainty.in_words(gate.comparison)}" if gate.comparison else ""
    if gate.refusals:
        return f"NOT BLESSED: {'; '.join(gate.refusals)}{compared}"
    interval = ""
    if gate.interval:
        low, high = map(percent, gate.interval)
        interval = f" ({low} to {high} at 95% confidence)"
    words = (
        f"blessed: accuracy is {percent(accuracy, gate.min_accuracy)}{interval}, at least "
        f"{percent(gate.min_accuracy)} is required"
    )
    if gate.baseline_accuracy is None:
        return f"{words}; there is no other version to compare with"
    change = accuracy - gate.baseline_accuracy
    return (
        f"{words}; {points(change, -gate.max_accuracy_drop)} points compared with version "
        f"{gate.baseline_version}, {points(-gate.max_accuracy_drop)} allowed{compared}"
    )


def read_comparison(evaluation_dir: str) -> Comparison | None:
    """Returns the comparison with the baseline image by image; None without one."""
    counts = {
        entry.key.name: round(entry.value.double_value.value)
        for metrics in tfma.load_metrics(evaluation_dir)
        if not metrics.slice_key.single_slice_keys
        for entry in metrics.metric_keys_and_values
        if entry.key.name in (ONLY_BASELINE_RIGHT, ONLY_CANDIDATE_RIGHT)
    }
    if not counts:
        return None
    return certainty.compare(counts[ONLY_BASELINE_RIGHT], counts[ONLY_CANDIDATE_RIGHT])


def refusals(evaluation_dir: str, class_names: Sequence[str]) -> list[str]:
    """Returns each threshold the candidate failed, in words; none if it was blessed."""
    validation = tfma.load_validation_result(evaluation_dir)
    by_slice = [
        (per_slice.slice_key.single_slice_keys, per_slice.failures)
        for per_slice in validation.metric_validations_per_slice
    ]
    by_slice.sort(key=lambda found: found[0][0].int64_value if found[0] else -1)
    return [
        (f"{class_names[keys[0].int64_value]}: " if keys else "") + _refusal(failure)
        for keys, failures in by_slice
        for failure in failures
    ]


def _refusal(failure: validation_result_pb2.ValidationFailure) -> str:
    """Returns one failed threshold in words."""
    value = failure.metric_value.double_value.value
    threshold = failure.metric_threshold
    limit = threshold.value_threshold.lower_bound.value
    if failure.metric_key.name == ACCURACY_CHANGE:
        fell, allowed = points(value, limit)[1:], points(limit)[1:]
        return f"accuracy fell by {fell} points compared with the baseline, {allowed} allowed"
    return f"accuracy is {percent(value, limit)}, at least {percent(limit)} is required"
