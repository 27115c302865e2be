"""Runs the executor of one node as TFX's entrypoint does, without importing all the others.

TFX's own (tfx/orchestration/kubeflow/v2/container/kubeflow_v2_run_executor.py) imports TFMA,
Beam and TensorFlow for every node, which takes seconds.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any

from kfp.pipeline_spec import pipeline_spec_pb2
from tfx import types
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.io import filesystem_registry
from tfx.dsl.io.plugins.local import LocalFilesystem
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils as translation
from tfx.orchestration.portable import outputs_utils
from tfx.utils import import_utils


def run(
    class_path: str,
    execution: Any,
    inputs_spec: Any,
    arguments: Sequence[str],
    make_pipeline: Callable[[], Any] | None = None,
) -> Any:
    """Runs an executor and returns the ExecutorOutput that the launcher expects.

    Args:
        class_path: The dotted path of the executor.
        execution: The ExecutorInput, with types and local folders.
        inputs_spec: The ComponentInputsSpec, which tells integers from other numbers.
        arguments: Beam's, if the executor uses Beam; else for the executor itself.
        make_pipeline: Makes its Beam pipelines; None: TFX does, with the arguments.

    Raises:
        Exception: Whatever the executor raises.
    """
    logging.getLogger("absl").setLevel(logging.INFO)  # TFX logs to it
    names: dict[int, str] = {}  # the ids that TFX gives the artifacts → the backend's names
    inputs = translation.parse_raw_artifact_dict(execution.inputs.artifacts, names)
    outputs = translation.parse_raw_artifact_dict(execution.outputs.artifacts, names)
    parameters = translation.parse_execution_properties(
        execution.inputs.parameter_values, execution.inputs.parameters, inputs_spec
    )
    executor_class = import_utils.import_class_by_path(class_path)
    context = make_context(
        executor_class, PurePosixPath(execution.outputs.output_file), arguments, make_pipeline
    )
    executor_class(context).Do(inputs, outputs, parameters)
    outputs_utils.tag_output_artifacts_with_version(outputs)
    for blessing in outputs.get("blessing", []):
        translation.refactor_model_blessing(blessing, names)
    output = pipeline_spec_pb2.ExecutorOutput()
    for name, artifacts in translation.translate_executor_output(outputs, names).items():
        output.artifacts[name].CopyFrom(artifacts)
    return output


def make_context(
    executor_class: type[BaseExecutor],
    output_file: PurePosixPath,
    arguments: Sequence[str],
    make_pipeline: Callable[[], Any] | None = None,
) -> BaseExecutor.Context:
    """Returns the context of an executor."""
    # Without importing Beam for those that do without.
    uses_beam = any(each.__name__ == "BaseBeamExecutor" for each in executor_class.__mro__)
    given: dict[str, Any] = {"extra_flags": list(arguments)}
    if uses_beam:
        given = {
            "beam_pipeline_args": list(arguments),
            "make_beam_pipeline_fn": make_pipeline,
        }
    return executor_class.Context(
        **given,
        unique_id=output_file.parent.name,
        tmp_dir=str(output_file.parent / ".temp"),
    )


def use_local_files() -> None:
    """Lets TFX open local files without TensorFlow."""
    registry = filesystem_registry.DEFAULT_FILESYSTEM_REGISTRY
    registry.register(LocalFilesystem, priority=0)


def channels(inputs_spec: Any) -> dict[str, types.Channel]:
    """Returns a channel of the right type for each input of a node."""
    return {
        name: types.Channel(
            type=import_utils.import_class_by_path(
                translation._retrieve_class_path(definition.artifact_type)
            )
        )
        for name, definition in inputs_spec.artifacts.items()
    }
