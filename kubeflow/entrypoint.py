"""The command of every container: runs one node of the pipeline for Kubeflow's launcher.

TFX's own entrypoint fails on open-source Kubeflow Pipelines 2.x (tensorflow/tfx#7768).
This one wraps it:
  * It restores the artifact types that the driver loses, and drops outputs that do not belong
    to the node.
  * It maps minio://, s3:// and gs:// to the folders that the launcher copies from and to, so
    that the image needs no object-store library, and maps them back.
  * It computes the parameters that depend on the run parameters, with the function that makes
    the node for `create_pipeline`, and on the version that `warm_start` means now.
  * It imports only what its own node needs.
  * It runs Beam jobs on Flink if the cluster file says so.
  * It fails the step when the node fails, with the reason in the last line.
"""

import argparse
import contextlib
import dataclasses
import json
import logging
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from contract import estimator, imports, lazy_modules, stopping
from data_sources import dataset
from kubeflow import beam_step
from kubeflow.parameters import RunParameters, batches_of, config_of
from pipeline_def import batches as pipeline_batches
from pipeline_def.batches import Batches
from pipeline_def.config import PipelineConfig

lazy_modules.make_lazy(lazy_modules.LARGE)
with imports.fast():
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2
    from tfx.dsl.components.base import base_node
    from tfx.orchestration.kubeflow.v2 import compiler_utils
    from tfx.types import BaseChannel

    from kubeflow import executor, ui_artifacts
    from pipeline_def import nodes, warm_start

# They name the training, and so the weights that it starts from. All see the pushed versions.
KNOW_START = ("Trainer", "BaselineModel", "Pusher")
RUN_PREFIX = "run_"  # marks the run parameters among those of a node
LOG_OUTPUT = "executor-logs"  # added by the driver; the launcher writes this file itself
TRAINER_OF_SEVERAL_PODS = "kubeflow.train_step.Executor"  # imports Kubernetes' client
SCHEMES = {"minio://": "/minio/", "s3://": "/s3/", "gs://": "/gcs/"}


def main(arguments: Sequence[str]) -> int:
    """Runs one node and returns the exit code of its step."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, force=True)
    options, beam_arguments = parse(arguments)
    executor.use_local_files()
    try:
        run_node(options, beam_arguments)
    except stopping.StoppedError as stopped:
        print(f"Error: {options.node}: {stopped}", file=sys.stderr)
        return stopped.exit_code
    except Exception as error:
        traceback.print_exc()
        print(f"Error: {options.node} failed: {error or repr(error)}", file=sys.stderr)
        return 1
    return 0


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Returns the options, and the remaining arguments, which are Beam's."""
    parser = argparse.ArgumentParser(prog="kubeflow.entrypoint")
    parser.add_argument("--node", required=True)
    parser.add_argument("--drift", action="store_true", help="of the pipeline for drift")
    parser.add_argument("--setting", action="append", default=[], dest="settings")
    parser.add_argument("--trainer_module", default=estimator.DEFAULT)
    parser.add_argument("--training_job", default="")
    parser.add_argument("--executor_class_path", required=True)
    parser.add_argument("--json_serialized_invocation_args", required=True)
    parser.add_argument("--json_serialized_inputs_spec_args", required=True)
    return parser.parse_known_args(arguments)


def run_node(options: argparse.Namespace, beam_arguments: list[str]) -> None:
    """Runs the executor of a node and writes what the launcher reads.

    Raises:
        OSError: An output cannot be written.
        ValueError: The image or the batches are not those the run expects.
        Exception: Whatever the executor raises.
    """
    execution = pipeline_spec_pb2.ExecutorInput()
    json_format.Parse(
        options.json_serialized_invocation_args, execution, ignore_unknown_fields=True
    )
    inputs_spec = pipeline_spec_pb2.ComponentInputsSpec()
    json_format.Parse(options.json_serialized_inputs_spec_args, inputs_spec)
    parameters = execution.inputs.parameter_values

    if options.drift:  # all its parameters are passed
        node = find_drift_node(options.node)
    else:
        run_parameters = take_run_parameters(parameters)
        config = config_of(run_parameters, options.settings, options.trainer_module)
        batches = batches_of(run_parameters)
        if "data_fingerprint" in inputs_spec.parameters:
            batches = find_batches(config, batches)
        batches = with_start(options.node, config, batches)
        node = find_node(options.node, config, batches, executor.channels(inputs_spec))
    check_code(node, parameters)
    for name in inputs_spec.parameters:
        if name not in parameters:
            json_format.ParseDict(node.exec_properties[name], parameters[name])
    uris = {name: one.artifacts[0].uri for name, one in execution.outputs.artifacts.items()}
    use_local_folders(execution)
    fill_types(execution, inputs_spec, node)

    if options.training_job:
        options.executor_class_path = TRAINER_OF_SEVERAL_PODS
        beam_arguments = [options.training_job]
    folder = checkpoint_dir(parameters)
    with (
        sole_user(folder) if folder else contextlib.nullcontext(),
        beam_step.on_cluster(options.node, next(iter(uris.values())), execution) as (
            told,
            make_pipeline,
        ),
    ):
        output = executor.run(
            options.executor_class_path, told, inputs_spec, beam_arguments, make_pipeline
        )
    for name, one in output.artifacts.items():
        one.artifacts[0].uri = uris[name]
    for name, page in ui_artifacts.PAGES.get(options.node, {}).items():
        output.artifacts[name].artifacts[0].uri += f"/{page}"
    if options.node in ui_artifacts.UI_OUTPUTS:
        evaluation_dir = execution.outputs.artifacts["evaluation"].artifacts[0].uri
        schema_dir = execution.inputs.artifacts["schema"].artifacts[0].uri
        for name, metadata in ui_artifacts.read_ui_metadata(evaluation_dir, schema_dir).items():
            output.artifacts[name].artifacts.add(uri=uris[name]).metadata.update(metadata)
    output_file = Path(execution.outputs.output_file)
    output_file.parent.mkdir(parents=True, exist_ok=True)
    output_file.write_text(json_format.MessageToJson(output))


def take_run_parameters(parameters: Any) -> RunParameters:
    """Removes the run parameters from a node's parameters, and returns them.

    Parameters that the node does not depend on are not passed; they have their defaults.
    """
    values = {}
    for field in dataclasses.fields(RunParameters):
        name = RUN_PREFIX + field.name
        if name in parameters:
            value = json_format.MessageToDict(parameters.pop(name))
            values[field.name] = field.type(value)  # type: ignore[operator]
    return RunParameters(**values)


def with_start(name: str, config: PipelineConfig, batches: Batches) -> Batches:
    """Returns the batches with the weights to start from, if a node names the training."""
    return warm_start.resolve(config, batches) if name in KNOW_START else batches


def find_node(
    name: str, config: PipelineConfig, batches: Batches, inputs: Mapping[str, BaseChannel]
) -> base_node.BaseNode:
    """Returns a node of the pipeline for a config, with these inputs.

    Raises:
        ValueError: The pipeline in this image has no such node.
    """
    if name not in nodes.BY_NAME:
        raise no_such_node(name, nodes.BY_NAME)
    with imports.fast():
        return nodes.BY_NAME[name](config, batches, **inputs)


def find_drift_node(name: str) -> base_node.BaseNode:
    """Returns a node of the pipeline for drift; raises ValueError as `find_node` does."""
    with imports.fast():
        from pipeline_def.drift_pipeline import create_drift_pipeline

    definition = create_drift_pipeline(PipelineConfig(), "", "", "")
    found = {node.id: node for node in definition.components}
    if name not in found:
        raise no_such_node(name, found)
    return found[name]


def no_such_node(name: str, known: Iterable[str]) -> ValueError:
    """Returns the error that names the nodes of the image's pipeline."""
    return ValueError(f"The image's pipeline has no {name}, only {', '.join(known)}.")


def check_code(node: base_node.BaseNode, parameters: Mapping[str, Any]) -> None:
    """Raises ValueError if the image's code for a node differs from what was compiled."""
    if "code_version" not in parameters:
        return
    compiled, here = (
        parameters["code_version"].string_value,
        node.exec_properties["code_version"],
    )
    if compiled != here:
        raise ValueError(
            f"this image contains other code (version {here}) than the pipeline was compiled "
            f"from ({compiled}). Build the image and compile the pipeline from one source."
        )


def find_batches(config: PipelineConfig, expected: Batches) -> Batches:
    """Returns the batches that the run expects, with their folder.

    Raises:
        FileNotFoundError: The batches are missing.
        ValueError: The batches are malformed or have another fingerprint.
    """
    found = dataset.locate(config.data, Path(expected.directory), options=config.data_options)
    if found.fingerprint != expected.fingerprint:
        raise ValueError(
            f"the batches in {found.directory} have the fingerprint {found.fingerprint}, but "
            f"the run expects {expected.fingerprint}. Set the parameter data_fingerprint to "
            "the first to train on them, or repair the batches (`cifar data verify`)."
        )
    return pipeline_batches.batches_of(found)


def fill_types(execution: Any, inputs_spec: Any, node: base_node.BaseNode) -> None:
    """Gives artifacts the types of the node's channels, and drops outputs it does not have.

    The driver passes inputs without a type, and adds an output for the step's log.
    """
    for name, definition in inputs_spec.artifacts.items():
        for artifact in execution.inputs.artifacts[name].artifacts:
            artifact.type.CopyFrom(definition.artifact_type)
    for name in set(execution.outputs.artifacts) - set(node.outputs):
        del execution.outputs.artifacts[name]
    for name, one in execution.outputs.artifacts.items():
        schema = compiler_utils.get_artifact_schema(node.outputs[name].type)
        one.artifacts[0].type.instance_schema = schema


def use_local_folders(execution: Any) -> None:
    """Replaces every address by the folder that the launcher copies from or to.

    Creates all output folders, even for outputs that only the UI reads: launchers after 2.17,
    which have no ML Metadata, fail a step if one is missing.

    Raises:
        OSError: An output folder cannot be created; the message names the output.
    """
    for one in execution.inputs.artifacts.values():
        for artifact in one.artifacts:
            artifact.uri = local_folder(artifact.uri)
    for name, one in execution.outputs.artifacts.items():
        address = one.artifacts[0].uri
        folder = local_folder(address)
        if name == LOG_OUTPUT:
            continue
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                f"cannot write the output {name} to {folder}, from which the launcher copies "
                f"it to {address} ({error.strerror})."
            ) from error
        one.artifacts[0].uri = folder


def checkpoint_dir(parameters: Mapping[str, Any]) -> Path | None:
    """Returns the folder on the volume that a node trains in; None if it does not train."""
    if "custom_config" not in parameters:
        return None
    config = json.loads(parameters["custom_config"].string_value) or {}  # Transform's is null
    folder = config.get("checkpoint_dir") or config.get("study_dir")
    return folder and Path(folder)


def sole_user(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Waits until no other step trains in a folder, then holds its lock."""
    from components import trainer  # imports TensorFlow
    from kubeflow import volume

    return trainer.sole_user(volume.lock_of(folder))


def local_folder(address: str) -> str:
    """Returns where the launcher keeps an artifact: backend/src/v2/component/launcher_v2.go."""
    for scheme, folder in SCHEMES.items():
        if address.startswith(scheme):
            return folder + address.removeprefix(scheme)
    return address


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of TensorFlow and Beam can abort the interpreter's shutdown, which would fail a
    # step that is done.
    os._exit(code)
