"""Compares candidate and baseline on the same images, in the same pass."""

from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.utils import model_util

from contract.metrics import ONLY_BASELINE_RIGHT, ONLY_CANDIDATE_RIGHT

Counts = tuple[int, int, int]  # images, only the baseline is right, only the candidate is


class PairedAccuracy(tfma.metrics.Metric):
    """The gain in accuracy over the baseline, and the two counts of McNemar's test."""

    def __init__(self, name: str) -> None:
        """Takes the name of the change in accuracy; the counts have fixed names."""
        super().__init__(paired_accuracy, name=name)


def paired_accuracy(
    name: str, eval_config: tfma.EvalConfig, model_names: Sequence[str], **unused: Any
) -> list[tfma.metrics.MetricComputation]:
    """Returns one computation for each model that is compared with the baseline."""
    spec = model_util.get_baseline_model_spec(eval_config)
    baseline = spec.name if spec else None
    computations = []
    for candidate in model_names:
        if candidate == baseline:
            continue
        keys = [
            metric_types.MetricKey(name=name, model_name=candidate),
            # As differences, or else TFMA would look for the baseline's.
            metric_types.MetricKey(ONLY_BASELINE_RIGHT, candidate, is_diff=True),
            metric_types.MetricKey(ONLY_CANDIDATE_RIGHT, candidate, is_diff=True),
        ]
        combiner = _PairedCombiner(eval_config, baseline, candidate, keys)
        computations.append(
            metric_types.MetricComputation(keys=keys, preprocessors=None, combiner=combiner)
        )
    return computations


class _PairedCombiner(beam.CombineFn):
    def __init__(
        self,
        eval_config: tfma.EvalConfig,
        baseline: str | None,
        candidate: str,
        keys: Sequence[metric_types.MetricKey],
    ) -> None:
        self._eval_config = eval_config
        self._baseline = baseline
        self._candidate = candidate
        self._keys = keys

    def create_accumulator(self) -> Counts:
        return 0, 0, 0

    def add_input(self, counts: Counts, inputs: metric_types.StandardMetricInputs) -> Counts:
        if self._baseline is None:
            return counts
        baseline = self._is_right(inputs, self._baseline)
        candidate = self._is_right(inputs, self._candidate)
        images, only_baseline, only_candidate = counts
        return (
            images + 1,
            only_baseline + (baseline > candidate),
            only_candidate + (candidate > baseline),
        )

    def _is_right(self, inputs: metric_types.StandardMetricInputs, model_name: str) -> bool:
        label, prediction, _ = next(
            metric_util.to_label_prediction_example_weight(
                inputs, self._eval_config, model_name, flatten=False
            )
        )
        return bool(np.argmax(prediction) == np.asarray(label).item())

    def merge_accumulators(self, accumulators: Iterable[Counts]) -> Counts:
        images, only_baseline, only_candidate = (
            sum(column) for column in zip(*accumulators, strict=True)
        )
        return images, only_baseline, only_candidate

    def extract_output(self, counts: Counts) -> dict[metric_types.MetricKey, float]:
        images, only_baseline, only_candidate = counts
        if self._baseline is None:
            return {self._keys[0]: 0.0}
        change = (only_candidate - only_baseline) / max(images, 1)
        values = (change, float(only_baseline), float(only_candidate))
        return dict(zip(self._keys, values, strict=True))
