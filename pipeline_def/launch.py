"""Runs the compiled pipeline node by node, and reads each node's state from the metadata.

TFX's LocalDagRunner is the same loop, but does not report what ran, what was cached and what
was skipped. It returns normally even if a node could not resolve its inputs
(tfx/orchestration/portable/launcher.py), so this module reads each node's state from MLMD.
"""

import dataclasses
import datetime
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata, pipeline
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import runtime_parameter_utils
from tfx.types import artifact_utils

from pipeline_def import cache_check

COMPLETED = (metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED)
ENDED = (
    *COMPLETED,
    metadata_store_pb2.Execution.FAILED,
    metadata_store_pb2.Execution.CANCELED,
)


@dataclasses.dataclass(frozen=True)
class Stage:
    """What one node did in this run."""

    name: str
    seconds: float
    cached: bool
    outputs: Mapping[str, types.Artifact]  # output name → its one artifact


def run_nodes(
    definition: pipeline.Pipeline,
    connection: metadata_store_pb2.ConnectionConfig,
    watch: Callable[[str], AbstractContextManager[Callable[[bool], None]]],
    say: Callable[[str], None],
    executor_operators: Mapping[Any, type] = {},
) -> Iterator[Stage]:
    """Runs every node in order and yields the outcome of each.

    Args:
        definition: The pipeline.
        connection: The metadata store.
        watch: Returns the context to run a node in, by its name. The context yields a
            function that is called with whether the node was cached.
        say: Called with a line about the file of a cached output that differs.
        executor_operators: Replacements for TFX's executor operators, by kind.

    Raises:
        RuntimeError: A node was skipped or did not complete.
        Exception: Whatever an executor raises.
    """
    compiled = compiler.Compiler().compile(definition)
    run_id = datetime.datetime.now().isoformat()
    runtime_parameter_utils.substitute_runtime_parameter(
        compiled, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
    )
    deployment = runner_utils.extract_local_deployment_config(compiled)
    for node in compiled.nodes:
        name = node.pipeline_node.node_info.id
        started = time.monotonic()
        with watch(name) as finished, cache_check.only_whole_outputs(name, say):
            execution = cache_check.RecordingLauncher(
                pipeline_node=node.pipeline_node,
                mlmd_connection=metadata.Metadata(connection),
                pipeline_info=compiled.pipeline_info,
                pipeline_runtime_spec=compiled.runtime_spec,
                executor_spec=runner_utils.extract_executor_spec(deployment, name),
                custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
                custom_executor_operators=executor_operators,
            ).launch()
            if execution is None or execution.execution_id is None:
                raise RuntimeError(f"{name} did not run: one of its inputs does not exist.")
            with metadata.Metadata(connection) as handle:
                cached = _was_cached(handle, name, execution.execution_id)
                outputs = _outputs_of(handle, execution.execution_id)
            finished(cached)
        yield Stage(name, time.monotonic() - started, cached, outputs)


def _was_cached(handle: metadata.Metadata, name: str, execution_id: int) -> bool:
    """Returns whether the execution was cached; raises RuntimeError if it did not complete."""
    (execution,) = handle.store.get_executions_by_id([execution_id])
    if execution.last_known_state not in COMPLETED:
        state = metadata_store_pb2.Execution.State.Name(execution.last_known_state)
        raise RuntimeError(f"{name} ended as {state}, not COMPLETE; see the log.")
    return bool(execution.last_known_state == metadata_store_pb2.Execution.CACHED)


def _outputs_of(handle: metadata.Metadata, execution_id: int) -> dict[str, types.Artifact]:
    """Returns the output artifacts of an execution by the name of the output."""
    events = [
        event
        for event in handle.store.get_events_by_execution_ids([execution_id])
        if event.type == metadata_store_pb2.Event.OUTPUT
    ]
    artifacts = {
        artifact.id: artifact
        for artifact in handle.store.get_artifacts_by_id(
            [event.artifact_id for event in events]
        )
    }
    kinds = {
        kind.id: kind
        for kind in handle.store.get_artifact_types_by_id(
            [artifact.type_id for artifact in artifacts.values()]
        )
    }
    return {
        event.path.steps[0].key: artifact_utils.deserialize_artifact(
            kinds[artifacts[event.artifact_id].type_id], artifacts[event.artifact_id]
        )
        for event in events
    }


class UnknownExecutionError(LookupError):
    """The metadata do not know an execution that has a folder, so they are of another folder.

    They would give its number to a new execution, which would write into the old one's folder.
    """


def abandon_killed(connection: metadata_store_pb2.ConnectionConfig, root: Path) -> None:
    """Removes what unfinished executions left below a pipeline's root.

    Call it while nothing runs: executions that the metadata then call running were killed.
    Their incomplete outputs are useless, and TFX never resumes them.

    Raises:
        UnknownExecutionError: The metadata are not those of the folder; nothing was removed.
    """
    folders: dict[int, list[Path]] = {}
    for pattern in ("*/*/*", "*/.system/executor_execution/*"):
        for folder in root.glob(pattern):
            if folder.name.isdigit():
                folders.setdefault(int(folder.name), []).append(folder)
    with metadata.Metadata(connection) as handle:
        executions = handle.store.get_executions_by_id(list(folders))
        if unknown := folders.keys() - {execution.id for execution in executions}:
            number = min(unknown)
            raise UnknownExecutionError(
                f"does not know execution {number}, which wrote {min(folders[number])}"
            )
        for folder in root.glob("*/.system/stateful_working_dir/*"):
            shutil.rmtree(folder)
        killed = [e for e in executions if e.last_known_state not in ENDED]
        for execution in killed:
            execution.last_known_state = metadata_store_pb2.Execution.FAILED
            for folder in folders[execution.id]:
                shutil.rmtree(folder, ignore_errors=True)
        if killed:
            handle.store.put_executions(killed)
