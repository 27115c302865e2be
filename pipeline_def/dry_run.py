"""What a run would do, stage by stage, and why, from the unchanged metadata.

It looks up the same keys as TFX's launcher (tfx/orchestration/portable/launcher.py), and
compares the files that the cache would offer with their record.
"""

import contextlib
import dataclasses
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.dsl.compiler import compiler
from tfx.orchestration import data_types_utils, metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import cache_utils, inputs_utils, outputs_utils
from tfx.orchestration.portable.mlmd import context_lib, execution_lib
from tfx.proto.orchestration import pipeline_pb2

from contract import metadata as contract_metadata
from contract import training_folder
from contract.files import BEST_VALUES_FILE
from pipeline_def import cache_check, execution, identity, pipeline, warm_start
from pipeline_def.batches import Batches
from pipeline_def.config import PipelineConfig

COMPARED = 100  # earlier executions of a stage, the newest ones
CODE_VERSION = "code_version"
SAID_OTHERWISE = ("checkpoint_dir", "num_steps")  # by what they are made of

Artifacts = Mapping[str, Sequence[types.Artifact]]  # by the name of the output


@dataclasses.dataclass(frozen=True)
class PlannedStage:
    """What would happen to a stage, and why."""

    name: str
    cached: bool
    why: str


def plan(config: PipelineConfig, batches: Batches | None) -> Iterator[PlannedStage]:
    """Yields each stage in the order of a run.

    Args:
        config: The settings; its folders are absolute.
        batches: The batches of the run; None if they would have to be fetched first.
    """
    output = Path(config.output_dir)
    if batches is None:
        nothing = "the batches would be fetched first"
        definition = pipeline.create_pipeline(config, Batches(config.data_dir, ""), "none")
        connection = None
    else:
        nothing = "it has not run in this folder yet"
        batches = warm_start.resolve(config, batches)
        definition = execution.define(config, batches)
        has_any = config.metadata_url or (output / contract_metadata.SQLITE_FILE).is_file()
        connection = (
            contract_metadata.connection_to(output, config.metadata_url, read_only=True)
            if has_any
            else None
        )
    compiled = compiler.Compiler().compile(definition)
    deployment = runner_utils.extract_local_deployment_config(compiled)
    outputs: dict[str, Artifacts] = {}  # of the stages that the cache has
    planned: list[str] = []
    for item in compiled.nodes:
        node = item.pipeline_node
        name = node.node_info.id
        producers = _producers(node)
        anew = [one for one in planned if one in producers and one not in outputs]
        planned.append(name)
        if connection is None:
            yield PlannedStage(name, False, nothing)
        elif not node.execution_options.caching_options.enable_cache:
            yield PlannedStage(name, False, "enable_cache is false")
        elif anew:
            yield PlannedStage(name, False, f"{' and '.join(anew)} would produce new inputs")
        else:
            with metadata.Metadata(connection) as handle:
                key = _Key(node, compiled.pipeline_info, deployment, outputs)
                found, why = key.look_up(handle)
            if found is not None:
                outputs[name] = found
            if name == "Trainer" and found is None and batches:
                why += going_on(checkpoint_dir(config, batches, outputs.get("Tuner")))
            yield PlannedStage(name, found is not None, why)


def checkpoint_dir(config: PipelineConfig, batches: Batches, tuner: Artifacts | None) -> Path:
    """Returns the folder that the Trainer would use, with the values that a Tuner found."""
    fingerprint = identity.training_fingerprint(config, batches)
    folder = Path(config.output_dir) / "checkpoints" / fingerprint
    if tuner is None:
        return folder
    (best,) = tuner["best_hyperparameters"]
    found = json.loads((Path(best.uri) / BEST_VALUES_FILE).read_text())
    return Path(training_folder.with_values(str(folder), found["values"]))


def going_on(folder: Path) -> str:
    """Returns in words where a training would continue; empty if it would start at step 0."""
    names = folder / "checkpoint"  # as TensorFlow writes it
    if not names.is_file():
        return ""
    newest = re.search(r'^model_checkpoint_path: ".*-(\d+)"', names.read_text(), re.MULTILINE)
    return f"; continues from step {int(newest[1]):,}" if newest else ""


def _producers(node: pipeline_pb2.PipelineNode) -> set[str]:
    """Returns the stages whose outputs a stage reads."""
    return {
        channel.producer_node_query.id
        for given in node.inputs.inputs.values()
        for channel in given.channels
    }


class _Key:
    """The cache key of a stage, and the metadata under it."""

    def __init__(
        self,
        node: pipeline_pb2.PipelineNode,
        info: pipeline_pb2.PipelineInfo,
        deployment: Any,
        outputs: Mapping[str, Artifacts],
    ) -> None:
        self._node, self._info = node, info
        self._spec = runner_utils.extract_executor_spec(deployment, node.node_info.id)
        self._inputs = {
            name: [
                artifact
                for channel in given.channels
                for artifact in outputs[channel.producer_node_query.id][channel.output_key]
            ]
            for name, given in node.inputs.inputs.items()
        }
        self._parameters = data_types_utils.build_parsed_value_dict(
            inputs_utils.resolve_parameters_with_schema(node_parameters=node.parameters)
        )

    def look_up(self, handle: metadata.Metadata) -> tuple[Artifacts | None, str]:
        """Returns what the cache would offer, or None, with the reason."""
        context = handle.store.get_context_by_type_and_name(
            context_lib.CONTEXT_TYPE_EXECUTION_CACHE, self._name(handle)
        )
        known = handle.store.get_executions_by_context(context.id) if context else []
        why = ""
        for one in _successful(known):
            found = cache_utils._get_outputs_of_execution(handle, one.id)
            if found is None:
                continue
            artifacts = [one.mlmd_artifact for output in found.values() for one in output]
            why = next(filter(None, map(cache_check.find_difference, artifacts)), "")
            if not why:
                return found, "code, settings and inputs are those of an earlier run"
        return None, why or self._what_changed(handle)

    def _name(self, handle: metadata.Metadata) -> str:
        skeleton = outputs_utils.generate_output_artifacts(0, self._node.outputs.outputs, "")
        with _context_not_registered():
            return str(
                cache_utils.get_cache_context(
                    handle,
                    pipeline_node=self._node,
                    pipeline_info=self._info,
                    executor_spec=self._spec,
                    input_artifacts=self._inputs,
                    output_artifacts=skeleton,
                    parameters=self._parameters,
                )
            )

    def _what_changed(self, handle: metadata.Metadata) -> str:
        """Returns the differences from the most similar earlier execution of the stage."""
        known = handle.store.get_executions_by_type(self._node.node_info.type.name)
        before = _successful(known)[:COMPARED]
        if not before:
            return "it has not run in this folder yet"
        read: dict[int, set[int]] = {one.id: set() for one in before}
        for event in handle.store.get_events_by_execution_ids(list(read)):
            if event.type == metadata_store_pb2.Event.INPUT:
                read[event.execution_id].add(event.artifact_id)
        changes = min((self._changes(one, read[one.id]) for one in before), key=len)
        return "; ".join(changes) or "its definition changed"

    def _changes(
        self, before: metadata_store_pb2.Execution, read: Collection[int]
    ) -> list[str]:
        """Returns each difference from an execution with these inputs, in words."""
        old, new = _flat(_values(before)), _flat(self._parameters)
        changes = [
            "its code changed"
            if name == CODE_VERSION
            else f"{name} is {new[name]}, was {old.get(name, 'not there')}"
            for name in new
            if name not in SAID_OTHERWISE and str(new[name]) != str(old.get(name))
        ]
        others = [
            f"its input {name} changed"
            for name, artifacts in self._inputs.items()
            if not {artifact.id for artifact in artifacts} <= set(read)
        ]
        return changes + others


def _values(execution: metadata_store_pb2.Execution) -> dict[str, Any]:
    """Returns the parameters of an execution, by name."""
    return {
        name: getattr(value, value.WhichOneof("value"))
        for name, value in execution.custom_properties.items()
        if value.WhichOneof("value")
    }


def _successful(executions: Any) -> list[metadata_store_pb2.Execution]:
    found = filter(execution_lib.is_execution_successful, executions)
    return list(execution_lib.sort_executions_newest_to_oldest(found))


def _flat(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns fields by name, with JSON objects among them flattened."""
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, str) and value.startswith("{"):
            with contextlib.suppress(ValueError):
                value = json.loads(value)
        flat |= _flat(value) if isinstance(value, dict) else {name: value}
    return flat


@contextlib.contextmanager
def _context_not_registered() -> Iterator[None]:
    """Lets TFX compute the name of a cache context without registering it."""
    stock = context_lib.register_context_if_not_exists
    context_lib.register_context_if_not_exists = (
        lambda metadata_handle, context_type_name, context_name: context_name
    )
    try:
        yield
    finally:
        context_lib.register_context_if_not_exists = stock
