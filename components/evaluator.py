"""The quality gate: the stock Evaluator, which ignores an empty baseline.

In TFX, a missing baseline has no input channel. Ours is an artifact without a model (see
baseline_model.py), so one pipeline definition serves every run.
"""

import dataclasses
import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import tensorflow_model_analysis as tfma
from google.protobuf import json_format, wrappers_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tfx import types
from tfx.components.evaluator import executor as stock_executor
from tfx.components.evaluator.component import Evaluator as StockEvaluator
from tfx.dsl.components.base import executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import path_utils

from components import classifier_metrics, prediction_writer
from contract import events, example_files, features, gate_record, image_set, signatures
from contract.image_set import ImageSet
from contract.metrics import ACCURACY, ACCURACY_CHANGE, top_k_metrics
from report import evaluation

log = logging.getLogger("cifar.evaluator")

# Beam's batches grow with the data, up to 1,000 examples, and the network's memory with them.
BATCH_SIZE = 250

# Replaces the quotes in a metric's config, which is JSON within JSON. Escaped quotes would have
# backslashes, for which ml-metadata 1.15.0 writes broken SQL to PostgreSQL.
QUOTE = "'"


class Executor(stock_executor.Executor):
    """Evaluates the candidate, and the baseline if there is one."""

    def Do(  # noqa: N802 - the name TFX calls
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes metrics, predictions and the blessing; drops an empty baseline first."""
        schema_dir = artifact_utils.get_single_uri(
            input_dict[standard_component_specs.SCHEMA_KEY]
        )
        images = image_set.read(schema_dir)
        key = standard_component_specs.BASELINE_MODEL_KEY
        if input_dict.get(key) and not can_be_compared(input_dict[key], images):
            input_dict = {name: value for name, value in input_dict.items() if name != key}
        artifacts = input_dict[standard_component_specs.EXAMPLES_KEY]
        files = artifact_utils.get_split_uris(artifacts, features.EVAL_SPLIT)
        total = example_files.count(example_files.find([f"{uri}/*" for uri in files]))
        events.begin(total, "images")
        config = complete_config(
            exec_properties[standard_component_specs.EVAL_CONFIG_KEY], images.num_classes
        )
        exec_properties = {
            **exec_properties,
            standard_component_specs.EVAL_CONFIG_KEY: config,
        }
        evaluation_dir = artifact_utils.get_single_uri(output_dict["evaluation"])
        with prediction_writer.written_to(evaluation_dir):
            super().Do(input_dict, output_dict, exec_properties)
        write_record(output_dict, images.class_names)


def write_record(
    output_dict: dict[str, list[types.Artifact]], class_names: Sequence[str]
) -> None:
    """Writes the measurements beside the blessing, for the Pusher.

    Raises:
        ValueError: There are no metrics of the candidate.
    """
    evaluation_dir = artifact_utils.get_single_uri(output_dict["evaluation"])
    metrics = evaluation.read_metrics(evaluation_dir, class_names)
    if metrics is None:
        raise ValueError(f"{evaluation_dir} contains no metrics of the candidate.")
    gate_record.write(
        artifact_utils.get_single_uri(output_dict["blessing"]),
        gate_record.GateRecord(metrics.accuracy, metrics.eval_examples),
    )


class Evaluator(StockEvaluator):
    """Judges the candidate on eval: its accuracy, and the change from the baseline."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, eval_config: tfma.EvalConfig, **arguments: Any) -> None:
        """Makes the node from the stock one's arguments, with our extractors."""
        config = tfma.EvalConfig.FromString(eval_config.SerializeToString())
        for metric in config.metrics_specs[0].metrics:
            metric.config = metric.config.replace('"', QUOTE)
        super().__init__(eval_config=config, **arguments, module_path=__name__)


def custom_extractors(eval_config: tfma.EvalConfig, **arguments: Any) -> list[Any]:
    """Returns TFMA's extractors, and ours for smaller batches, progress and predictions."""
    stock = tfma.default_extractors(eval_config=eval_config, **arguments)
    after = [extractor.stage_name for extractor in stock].index("ExtractPredictions") + 1
    return [
        tfma.extractors.extractor.Extractor("SplitBatches", beam.FlatMap(split_batch)),
        *stock[:after],
        tfma.extractors.extractor.Extractor("SayProgress", beam.Map(_say_progress)),
        prediction_writer.extractor(eval_config),
        *stock[after:],
    ]


def split_batch(extracts: tfma.Extracts) -> Iterator[tfma.Extracts]:
    """Yields a batch in parts of at most `BATCH_SIZE` examples."""
    batch = extracts[tfma.ARROW_RECORD_BATCH_KEY]
    for start in range(0, batch.num_rows, BATCH_SIZE):
        yield {**extracts, tfma.ARROW_RECORD_BATCH_KEY: batch.slice(start, BATCH_SIZE)}


def _say_progress(extracts: tfma.Extracts) -> tfma.Extracts:
    events.advance(len(extracts[tfma.INPUT_KEY]))
    return extracts


def can_be_compared(artifacts: list[types.Artifact], images: ImageSet) -> bool:
    """Returns whether the single model artifact contains a SavedModel for such images."""
    uri = artifact_utils.get_single_uri(artifacts)
    path = f"{path_utils.serving_model_dir(uri)}/saved_model.pb"
    if not fileio.exists(path):
        return False
    with fileio.open(path, "rb") as file:
        saved_model = saved_model_pb2.SavedModel.FromString(file.read())
    signature = saved_model.meta_graphs[0].signature_def[signatures.PIXELS]
    shape = [dim.size for dim in signature.inputs["images"].tensor_shape.dim][1:]
    classes = [dim.size for dim in signature.outputs["probabilities"].tensor_shape.dim][1:]
    if shape == [*images.image_shape] and classes == [images.num_classes]:
        return True
    log.warning(
        "The baseline takes images of %s and has %s classes. These images are %s and have %d "
        "classes, so the baseline is not compared with the candidate.",
        shape,
        classes,
        [*images.image_shape],
        images.num_classes,
    )
    return False


@dataclasses.dataclass(frozen=True)
class Limits:
    """The limits for a candidate, as fractions.

    Attributes:
        min_accuracy: The minimum accuracy.
        max_accuracy_drop: How far the accuracy may be below the baseline's.
        min_class_accuracy: The minimum accuracy of each class.
        max_class_accuracy_drop: How far a class's accuracy may be below the baseline's.
    """

    min_accuracy: float = 0.0
    max_accuracy_drop: float = 1.0
    min_class_accuracy: float = 0.0
    max_class_accuracy_drop: float = 1.0


def eval_config(limits: Limits) -> tfma.EvalConfig:
    """Returns the metrics on eval and their thresholds."""
    by_class = tfma.SlicingSpec(feature_keys=[features.LABEL])
    least = [_at_least(tfma.SlicingSpec(), limits.min_accuracy)]
    least_change = [_at_least(tfma.SlicingSpec(), -limits.max_accuracy_drop)]
    if limits.min_class_accuracy > 0:
        least.append(_at_least(by_class, limits.min_class_accuracy))
    if limits.max_class_accuracy_drop < 1:
        least_change.append(_at_least(by_class, -limits.max_class_accuracy_drop))
    metrics = [
        _metric("ClassifierMetrics", ACCURACY, least),
        # TFMA's own change threshold rejects everything if the baseline's accuracy is 0.
        _metric("PairedAccuracy", ACCURACY_CHANGE, least_change),
    ]
    return tfma.EvalConfig(
        # No name: with exactly one unnamed model, TFMA adds the baseline itself.
        model_specs=[
            tfma.ModelSpec(
                model_type="tf_generic",
                signature_name=signatures.EXAMPLES,
                label_key=features.LABEL,
                prediction_key=prediction_writer.PREDICTION_KEY,
            )
        ],
        slicing_specs=[tfma.SlicingSpec(), by_class],
        metrics_specs=[tfma.MetricsSpec(metrics=metrics)],
    )


def _metric(
    class_name: str, name: str, thresholds: Sequence[tfma.PerSliceMetricThreshold]
) -> tfma.MetricConfig:
    """Returns the config of one of our metrics."""
    return tfma.MetricConfig(
        class_name=class_name,
        module=classifier_metrics.__name__,
        config=json.dumps({"name": name}),
        per_slice_thresholds=thresholds,
    )


def _at_least(slices: tfma.SlicingSpec, bound: float) -> tfma.PerSliceMetricThreshold:
    """Returns a threshold for some slices; a plain one would apply to every slice."""
    return tfma.PerSliceMetricThreshold(
        slicing_specs=[slices],
        threshold=tfma.MetricThreshold(
            value_threshold=tfma.GenericValueThreshold(
                lower_bound=wrappers_pb2.DoubleValue(value=bound)
            )
        ),
    )


def complete_config(config_json: str, num_classes: int) -> str:
    """Returns the EvalConfig that TFMA needs: with quotes again, and with top-k metrics.

    Their k depends on the number of classes, which only the examples' schema contains.

    Args:
        config_json: The config of an Evaluator node, as JSON.
        num_classes: The number of classes.
    """
    config = json_format.Parse(config_json, tfma.EvalConfig())
    for metric in config.metrics_specs[0].metrics:
        metric.config = metric.config.replace(QUOTE, '"')
        if metric.class_name == "ClassifierMetrics":
            arguments = json.loads(metric.config) | {"top_k": top_k_metrics(num_classes)}
            metric.config = json.dumps(arguments)
    return json_format.MessageToJson(config, sort_keys=True)
