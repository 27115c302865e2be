"""Writes the candidate's predictions while the Evaluator computes its metrics.

So the report needs no forward pass of its own.
"""

import contextlib
import contextvars
import posixpath
from collections.abc import Iterator

import apache_beam as beam
import pyarrow as pa
import tensorflow_model_analysis as tfma
from apache_beam.io import parquetio
from tensorflow_model_analysis.utils import model_util

from contract import eval_predictions, features

PREDICTION_KEY = "probabilities"

# TFX does not tell the Evaluator's extractors where its output goes.
_directory: contextvars.ContextVar[str] = contextvars.ContextVar("directory")


@contextlib.contextmanager
def written_to(directory: str) -> Iterator[None]:
    """Determines where extractors made in its body write to."""
    token = _directory.set(directory)
    try:
        yield
    finally:
        _directory.reset(token)


def extractor(eval_config: tfma.EvalConfig) -> tfma.extractors.extractor.Extractor:
    """Returns an extractor that writes what the candidate predicts, for batches of extracts."""
    baseline = model_util.get_baseline_model_spec(eval_config)
    candidate = next(spec.name for spec in eval_config.model_specs if spec != baseline)
    return tfma.extractors.extractor.Extractor(
        "WritePredictions", _Write(_directory.get(), candidate if baseline else "")
    )


class _Write(beam.PTransform):
    """Writes predictions beside the metrics, and passes all extracts on."""

    def __init__(self, directory: str, candidate: str) -> None:
        super().__init__()
        self._directory = directory
        self._candidate = candidate  # its name; empty if there is no other model

    def expand(self, extracts: beam.PCollection) -> beam.PCollection:
        _ = (
            extracts
            | "ToTable" >> beam.Map(to_table, self._candidate)
            | "Write"
            >> parquetio.WriteToParquetBatched(
                posixpath.join(self._directory, eval_predictions.PREFIX),
                eval_predictions.SCHEMA,
                file_name_suffix=eval_predictions.SUFFIX,
            )
        )
        return extracts


def to_table(extracts: tfma.Extracts, candidate: str) -> pa.Table:
    """Returns the candidate's predictions in a batch of extracts.

    Args:
        extracts: With features, labels and predictions, each with n rows.
        candidate: The candidate's name; empty if it is the only model.
    """
    labels, predictions = extracts[tfma.LABELS_KEY], extracts[tfma.PREDICTIONS_KEY]
    if candidate:
        labels, predictions = labels[candidate], predictions[candidate]
    keys = extracts[tfma.FEATURES_KEY][features.KEY]
    return eval_predictions.to_table(keys.ravel(), labels.ravel(), predictions[PREDICTION_KEY])
