"""What the Evaluator found, read back from its artifact: metrics, verdict and reasons."""

import dataclasses
from collections.abc import Sequence

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import validation_result_pb2

from contract import features
from contract.metrics import ACCURACY, CROSS_ENTROPY, TOP_3
from report.facts import Gate, Metrics

# The names TFMA gives the models of an unnamed spec: the candidate's depends on whether
# there is a baseline.
CANDIDATE = ("", "candidate")
BASELINE = ("baseline",)


def read_metrics(evaluation_dir: str, names: Sequence[str] = CANDIDATE) -> Metrics | None:
    """Returns a model's metrics on eval, overall and for each class; None without the model."""
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
        top_3_accuracy=overall[TOP_3],
        cross_entropy=overall[CROSS_ENTROPY],
        eval_examples=int(overall["example_count"]),
        class_accuracy={
            features.CLASS_NAMES[label]: metrics[ACCURACY]
            for label, metrics in sorted(by_label.items())
        },
        confusion=read_confusion(evaluation_dir, names),
    )


def read_confusion(evaluation_dir: str, names: Sequence[str]) -> list[list[int]]:
    """Returns how often a model predicted each class (column) for each class (row)."""
    matrix = [[0] * features.NUM_CLASSES for _ in range(features.NUM_CLASSES)]
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
    min_accuracy: float,
    max_accuracy_drop: float,
    baseline_version: str | None,
) -> Gate:
    """Returns what the candidate was asked for, what it was compared with, and the verdict.

    Args:
        evaluation_dir: The Evaluator's artifact.
        min_accuracy: What was asked for, a fraction.
        max_accuracy_drop: What was allowed against the baseline, a fraction.
        baseline_version: The pushed version compared with, if there was one.

    Raises:
        ValueError: The Evaluator's artifact holds no metrics of the candidate.
    """
    candidate = read_metrics(evaluation_dir)
    baseline = read_metrics(evaluation_dir, BASELINE)
    if candidate is None:
        raise ValueError(f"{evaluation_dir} holds no metrics of the candidate.")
    gate = Gate(
        min_accuracy=min_accuracy,
        max_accuracy_drop=max_accuracy_drop,
        baseline_version=baseline_version,
        baseline_accuracy=baseline.accuracy if baseline else None,
        refusals=refusals(evaluation_dir),
    )
    return dataclasses.replace(gate, verdict=verdict(candidate.accuracy, gate))


def verdict(accuracy: float, gate: Gate) -> str:
    """Returns what the gate said, with its numbers."""
    if gate.refusals:
        return "NOT BLESSED: " + "; ".join(gate.refusals)
    words = (
        f"blessed: accuracy is {accuracy:.2%}, at least {gate.min_accuracy:.2%} is asked for"
    )
    if gate.baseline_accuracy is None:
        return words + "; there is no other version to compare with"
    change = accuracy - gate.baseline_accuracy
    return (
        f"{words}; {change:+.2%} against version {gate.baseline_version}, "
        f"{-gate.max_accuracy_drop:.2%} is allowed"
    )


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
