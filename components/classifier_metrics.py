"""The gate's metrics: of each model, and of candidate and baseline on the same images.

TFMA's own metrics look for label and prediction once per metric and image, which together took
longer than the network. These are found once here, and NumPy counts a block of images at once.
"""

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.proto import metrics_for_slice_pb2
from tensorflow_model_analysis.utils import model_util

from contract.metrics import (
    CROSS_ENTROPY,
    EXAMPLE_COUNT,
    ONLY_BASELINE_RIGHT,
    ONLY_CANDIDATE_RIGHT,
)

CONFUSION = "multi_class_confusion_matrix_plot"  # as TFMA names it
BLOCK = 50  # images that are counted at once; each slice keeps so many
EPSILON = 1e-7  # Keras keeps probabilities this far from 0 and 1 in the cross-entropy
NO_CLASS = -1  # what TFMA calls predicted where no probability is above 0


class ClassifierMetrics(tfma.metrics.Metric):
    """Images, accuracy, cross-entropy, top-k accuracies and confusion matrix of each model."""

    def __init__(self, name: str, top_k: Mapping[str, int]) -> None:
        """Takes the name of the accuracy, and k by the name of each top-k accuracy."""
        super().__init__(classifier_metrics, name=name, top_k=top_k)


class PairedAccuracy(tfma.metrics.Metric):
    """The gain in accuracy over the baseline, and the two counts of McNemar's test."""

    def __init__(self, name: str) -> None:
        """Takes the name of the change in accuracy; the counts have fixed names."""
        super().__init__(paired_accuracy, name=name)


def classifier_metrics(
    name: str,
    top_k: Mapping[str, int],
    eval_config: tfma.EvalConfig,
    model_names: Sequence[str],
    **unused: Any,
) -> list[tfma.metrics.MetricComputation]:
    """Returns one computation for each model."""
    return [
        _computation(ClassifierCombiner(Outputs.of(eval_config, model), name, dict(top_k)))
        for model in model_names
    ]


def paired_accuracy(
    name: str, eval_config: tfma.EvalConfig, model_names: Sequence[str], **unused: Any
) -> list[tfma.metrics.MetricComputation]:
    """Returns one computation for each model that is compared with the baseline."""
    spec = model_util.get_baseline_model_spec(eval_config)
    baseline = Outputs.of(eval_config, spec.name) if spec else None
    return [
        _computation(PairedCombiner(baseline, Outputs.of(eval_config, model), name))
        for model in model_names
        if not (baseline and baseline.model == model)
    ]


def _computation(
    combiner: "ClassifierCombiner | PairedCombiner",
) -> tfma.metrics.MetricComputation:
    return metric_types.MetricComputation(
        keys=combiner.keys, preprocessors=None, combiner=combiner
    )


@dataclasses.dataclass(frozen=True)
class Outputs:
    """Where a model's outputs are in what TFMA gives a metric."""

    model: str  # its name; empty if it is the only one
    prediction_key: str

    @classmethod
    def of(cls, eval_config: tfma.EvalConfig, model: str) -> "Outputs":
        """Returns where the outputs of a model are, by its name."""
        (key,) = (
            spec.prediction_key
            for spec in eval_config.model_specs
            if len(eval_config.model_specs) == 1 or spec.name == model
        )
        return cls(model, key)

    def read(self, inputs: Mapping[str, Any]) -> tuple[int, np.ndarray]:
        """Returns the label and the probabilities, shape (classes,), of an image."""
        label, prediction = inputs[tfma.LABELS_KEY], inputs[tfma.PREDICTIONS_KEY]
        if self.model:
            label = label[self.model] if isinstance(label, dict) else label
            prediction = prediction[self.model]
        if isinstance(prediction, dict):
            prediction = prediction[self.prediction_key]
        return label.item(), prediction


@dataclasses.dataclass
class Counts:
    """Sums over images, and the latest images, which are not in the sums yet.

    Attributes:
        cross_entropy: The sum, in nats.
        in_top: Images whose label is among the k most probable, in the order of the metrics.
        confusion: Images by label and predicted class.
        labels: Of the latest images.
        probabilities: Of the latest images: float32, shape (classes,) each.
    """

    cross_entropy: float = 0.0
    in_top: np.ndarray | int = 0
    confusion: collections.Counter[tuple[int, int]] = dataclasses.field(
        default_factory=collections.Counter
    )
    labels: list[int] = dataclasses.field(default_factory=list)
    probabilities: list[np.ndarray] = dataclasses.field(default_factory=list)


class ClassifierCombiner(beam.CombineFn):
    """Computes the metrics of one model."""

    def __init__(self, outputs: Outputs, accuracy_name: str, top_k: Mapping[str, int]) -> None:
        """Takes the model, the name of its accuracy, and k by the name of each top-k metric."""
        self._outputs = outputs
        self._ks = list(top_k.values())
        names = (EXAMPLE_COUNT, accuracy_name, CROSS_ENTROPY, *top_k)
        self.keys = [
            *(metric_types.MetricKey(name, outputs.model) for name in names),
            metric_types.PlotKey(CONFUSION, outputs.model),
        ]

    def create_accumulator(self) -> Counts:
        return Counts()

    def add_input(self, counts: Counts, inputs: Mapping[str, Any]) -> Counts:
        label, probabilities = self._outputs.read(inputs)
        counts.labels.append(label)
        counts.probabilities.append(probabilities)
        return self.compact(counts) if len(counts.labels) == BLOCK else counts

    def compact(self, counts: Counts) -> Counts:
        if not counts.labels:
            return counts
        labels, probabilities = np.array(counts.labels), np.stack(counts.probabilities)
        own = np.arange(len(labels)), labels
        of_label = probabilities[own]
        kept = np.clip(probabilities.astype(np.float64), EPSILON, 1 - EPSILON)
        more_probable = (~(probabilities <= of_label[:, np.newaxis])).sum(axis=1)  # or NaN
        predicted = probabilities.argmax(axis=1)
        predicted[probabilities.max(axis=1) <= 0] = NO_CLASS
        return Counts(
            counts.cross_entropy + float(np.log(kept.sum(axis=1) / kept[own]).sum()),
            counts.in_top + (more_probable[:, np.newaxis] < self._ks).sum(axis=0),
            counts.confusion
            + collections.Counter(zip(counts.labels, predicted.tolist(), strict=True)),
        )

    def merge_accumulators(self, accumulators: Iterable[Counts]) -> Counts:
        merged = Counts()
        for counts in map(self.compact, accumulators):
            merged.cross_entropy += counts.cross_entropy
            merged.in_top = merged.in_top + counts.in_top
            merged.confusion += counts.confusion
        return merged

    def extract_output(self, counts: Counts) -> dict[metric_types.MetricKey, Any]:
        counts = self.compact(counts)
        images = counts.confusion.total()
        right = sum(
            n for (label, predicted), n in counts.confusion.items() if label == predicted
        )
        in_top = np.broadcast_to(counts.in_top, len(self._ks))
        means = np.array([right, counts.cross_entropy, *in_top]) / max(images, 1)
        values = (float(images), *means.tolist(), _confusion_proto(counts.confusion))
        return dict(zip(self.keys, values, strict=True))


def _confusion_proto(
    confusion: Mapping[tuple[int, int], int],
) -> metrics_for_slice_pb2.MultiClassConfusionMatrixAtThresholds:
    """Returns TFMA's matrix at the threshold 0."""
    entries = [
        {"actual_class_id": label, "predicted_class_id": predicted, "num_weighted_examples": n}
        for (label, predicted), n in sorted(confusion.items())
    ]
    matrix = {"threshold": 0.0, "entries": entries}
    return metrics_for_slice_pb2.MultiClassConfusionMatrixAtThresholds(matrices=[matrix])


class PairedCombiner(beam.CombineFn):
    """Compares candidate and baseline; without a baseline, the change is 0."""

    def __init__(self, baseline: Outputs | None, candidate: Outputs, name: str) -> None:
        """Takes both models and the name of the change in accuracy."""
        self._baseline = baseline
        self._candidate = candidate
        self.keys = [
            metric_types.MetricKey(name=name, model_name=candidate.model),
            # As differences, or else TFMA would look for the baseline's.
            metric_types.MetricKey(ONLY_BASELINE_RIGHT, candidate.model, is_diff=True),
            metric_types.MetricKey(ONLY_CANDIDATE_RIGHT, candidate.model, is_diff=True),
        ]

    def create_accumulator(self) -> tuple[int, int, int]:
        return 0, 0, 0  # images, only the baseline is right, only the candidate is

    def add_input(
        self, counts: tuple[int, int, int], inputs: Mapping[str, Any]
    ) -> tuple[int, int, int]:
        if self._baseline is None:
            return counts
        baseline, candidate = (
            _is_right(inputs, self._baseline),
            _is_right(inputs, self._candidate),
        )
        images, only_baseline, only_candidate = counts
        return (
            images + 1,
            only_baseline + (baseline > candidate),
            only_candidate + (candidate > baseline),
        )

    def merge_accumulators(
        self, accumulators: Iterable[tuple[int, int, int]]
    ) -> tuple[int, int, int]:
        images, only_baseline, only_candidate = (
            sum(column) for column in zip(*accumulators, strict=True)
        )
        return images, only_baseline, only_candidate

    def extract_output(
        self, counts: tuple[int, int, int]
    ) -> dict[metric_types.MetricKey, float]:
        images, only_baseline, only_candidate = counts
        if self._baseline is None:
            return {self.keys[0]: 0.0}
        change = (only_candidate - only_baseline) / max(images, 1)
        values = (change, float(only_baseline), float(only_candidate))
        return dict(zip(self.keys, values, strict=True))


def _is_right(inputs: Mapping[str, Any], outputs: Outputs) -> bool:
    label, probabilities = outputs.read(inputs)
    return bool(probabilities.argmax() == label)
