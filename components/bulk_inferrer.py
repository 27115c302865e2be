"""Predictions of a folder or file by the model that a run pushed: a BulkInferrer of ours.

The stock one reads labelled examples and writes PredictionLogs. Ours reads and writes what
`cifar predict --batch` does, with the same transform and so through the same RunInference.
"""

import logging
import time
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.utils import path_utils

from serving.batch import record, results, sources
from serving.batch.record import BatchRecord
from serving.batch.transform import PredictSources

log = logging.getLogger("cifar.bulk_inferrer")

FORMAT = "parquet"


class Executor(base_beam_executor.BaseBeamExecutor):
    """Predicts every image if the model was pushed."""

    def Do(  # noqa: N802 - the name TFX calls
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes predictions, lists of images without one, and `batch.json`; else nothing.

        Raises:
            FileNotFoundError: The path does not exist, or contains nothing to predict.
            ValueError: It contains several kinds of files, or it changed since the run began.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        result = artifact_utils.get_single_instance(output_dict["inference_result"])
        pushed = artifact_utils.get_single_instance(input_dict["pushed_model"])
        is_pushed = bool(pushed.get_int_custom_property("pushed"))
        result.set_int_custom_property("inferred", int(is_pushed))
        if not is_pushed:
            log.info("The model was not pushed, so nothing is predicted.")
            return
        started = time.monotonic()
        path, digest = Path(exec_properties["input"]), exec_properties["input_digest"]
        found = sources.find(path)
        if digest and digest != sources.digest(found):
            raise ValueError(f"{path} changed since the run began. Run again to predict it.")
        uri = artifact_utils.get_single_uri(input_dict["model"])
        model, folder = Path(path_utils.serving_model_dir(uri)), Path(result.uri)
        with self._make_beam_pipeline() as root:
            _ = root | PredictSources(model, found, folder, FORMAT)
        images, failed = results.count(folder, FORMAT)
        seconds = round(time.monotonic() - started, 1)
        done = BatchRecord(
            str(model), str(path), digest, FORMAT, "done", images, failed, seconds
        )
        record.write(folder, done)
        log.info("Predicted %d images to %s; %d have no prediction", images, folder, failed)


class BulkInferrerSpec(component_spec.ComponentSpec):
    """Inputs, parameters and output of BulkInferrer."""

    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel),
    }
    PARAMETERS = {
        "input": component_spec.ExecutionParameter(type=str),
        "input_digest": component_spec.ExecutionParameter(type=str),
    }
    OUTPUTS = {
        "inference_result": component_spec.ChannelParameter(
            type=standard_artifacts.InferenceResult
        )
    }


class BulkInferrer(base_beam_component.BaseBeamComponent):
    """Predicts pictures, CIFAR batches or TFRecord files of examples with the pushed model."""

    SPEC_CLASS = BulkInferrerSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        path: str,
        digest: str,
        model: types.BaseChannel,
        pushed_model: types.BaseChannel,
    ) -> None:
        """Makes the node.

        Args:
            path: What to predict: see `sources.find`.
            digest: Identifies its files, for the cache; empty if they are not on this machine.
            model: From the Trainer.
            pushed_model: From the Pusher; without a push, nothing is predicted.
        """
        super().__init__(
            spec=BulkInferrerSpec(
                input=path,
                input_digest=digest,
                model=model,
                pushed_model=pushed_model,
                inference_result=types.Channel(type=standard_artifacts.InferenceResult),
            )
        )
