"""The lineage of a pushed version: through the metadata back to the batch files."""

import dataclasses
import datetime
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as proto

from contract import warm_start
from serving import model_registry

CODE_VERSION = "code_version"
CHECKSUMS = "checksums"
BY_HAND = "by_hand"  # of an execution: no node's, but a command's
LATEST = "latest"


@dataclasses.dataclass(frozen=True)
class Artifact:
    """An output of a stage.

    Attributes:
        name: The stage's name for this output.
        made_by: The id of the execution.
    """

    id: int
    name: str
    type: str
    uri: str
    made_by: int
    properties: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Execution:
    """One run of a stage.

    Attributes:
        code_version: A hash of the code that it depended on; empty for TFX's own stages.
        inputs: Ids of the artifacts it read.
        outputs: Ids of the artifacts it made.
        trainer_module: The Estimator that it trained; empty for other stages.
        warm_start: The version whose weights it was to start from; empty for random ones.
    """

    id: int
    stage: str
    finished: str
    code_version: str
    parameters: dict[str, Any]
    inputs: list[int]
    outputs: list[int]
    trainer_module: str = ""
    warm_start: str = ""


@dataclasses.dataclass(frozen=True)
class Lineage:
    """Everything that led to a pushed version.

    Attributes:
        executions: The push first, the batches last.
        checksums: SHA-256 of the batch files by name.
    """

    version: str
    path: str
    executions: list[Execution]
    artifacts: dict[int, Artifact]
    checksums: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Returns everything, ready for JSON."""
        return dataclasses.asdict(self)


def trace(
    connection: proto.ConnectionConfig,
    version: str,
    folders: Mapping[str, model_registry.PushedVersion],
) -> Lineage:
    """Returns the lineage of a pushed version, or of the `latest` one.

    Args:
        connection: The metadata store.
        version: The number of the version, or `latest`.
        folders: Pushed versions by number, according to their folders. If a run was killed
            just after its push, the metadata does not have the push.

    Raises:
        LookupError: The metadata have neither the version nor its model.
    """
    store = metadata_store.MetadataStore(connection)
    pushes = _pushes(store)
    models = {
        number: (str(folder.path), folder.provenance.model_artifact_id)
        for number, folder in folders.items()
        if folder.provenance.model_artifact_id and _is_model(store, folder.provenance)
    }
    known = models | {
        number: (push.custom_properties["pushed_destination"].string_value, push.id)
        for number, push in pushes.items()
    }
    if version == LATEST and known:
        version = max(known, key=int)
    if version not in known:
        names = ", ".join(sorted(known)) or "none"
        raise LookupError(f"ML Metadata has no pushed version {version}. Known: {names}.")
    path, artifact_id = known[version]
    executions, artifacts = _walk_back(store, artifact_id)
    return Lineage(
        version=version,
        path=path,
        executions=executions,
        artifacts=artifacts,
        checksums=next(
            (
                json.loads(artifact.properties[CHECKSUMS])
                for artifact in artifacts.values()
                if CHECKSUMS in artifact.properties
            ),
            {},
        ),
    )


def _pushes(store: metadata_store.MetadataStore) -> dict[str, proto.Artifact]:
    """Returns the recorded pushes by the version that each made."""
    return {
        push.custom_properties["pushed_version"].string_value: push
        for push in store.get_artifacts_by_type("PushedModel")
        if push.custom_properties["pushed"].int_value
    }


def _is_model(
    store: metadata_store.MetadataStore, provenance: model_registry.Provenance
) -> bool:
    """Returns whether the metadata have the model in a pushed folder."""
    found = store.get_artifacts_by_id([provenance.model_artifact_id])
    return any(artifact.uri == provenance.model_artifact_uri for artifact in found)


def _walk_back(
    store: metadata_store.MetadataStore, artifact_id: int
) -> tuple[list[Execution], dict[int, Artifact]]:
    """Returns every execution and artifact that led to an artifact, latest first."""
    executions: dict[int, Execution] = {}
    artifacts: dict[int, Artifact] = {}
    waiting = [artifact_id]
    while waiting:
        artifact_id = waiting.pop()
        if artifact_id in artifacts:
            continue
        events = store.get_events_by_artifact_ids([artifact_id])
        # A cached run names its outputs too; the first execution is the one that made them.
        made = min(
            (event for event in events if event.type == proto.Event.OUTPUT),
            key=lambda event: event.execution_id,
        )
        artifacts[artifact_id] = _artifact(store, artifact_id, made)
        if made.execution_id not in executions:
            execution = _execution(store, made.execution_id)
            executions[made.execution_id] = execution
            waiting += execution.inputs
    return sorted(executions.values(), key=lambda e: -e.id), artifacts


def _artifact(
    store: metadata_store.MetadataStore, artifact_id: int, made: proto.Event
) -> Artifact:
    (artifact,) = store.get_artifacts_by_id([artifact_id])
    return Artifact(
        id=artifact_id,
        name=made.path.steps[0].key,
        type=artifact.type,
        uri=artifact.uri,
        made_by=made.execution_id,
        properties=_values(artifact.custom_properties),
    )


def _execution(store: metadata_store.MetadataStore, execution_id: int) -> Execution:
    (execution,) = store.get_executions_by_id([execution_id])
    events = store.get_events_by_execution_ids([execution_id])
    parameters = _values(execution.custom_properties)
    custom_config = json.loads(parameters.get("custom_config") or "null") or {}
    finished = datetime.datetime.fromtimestamp(
        execution.last_update_time_since_epoch / 1000
    ).isoformat(" ", "seconds")
    return Execution(
        id=execution_id,
        stage=execution.type.rsplit(".", 1)[-1],
        finished=finished,
        code_version=parameters.pop(CODE_VERSION, ""),
        parameters=parameters,
        inputs=_ids(events, proto.Event.INPUT),
        outputs=_ids(events, proto.Event.OUTPUT),
        trainer_module=str(custom_config.get("trainer_module", "")),
        warm_start=str(custom_config.get(warm_start.KEY, {}).get("version", "")),
    )


def _ids(events: Iterable[proto.Event], kind: int) -> list[int]:
    return sorted(event.artifact_id for event in events if event.type == kind)


def _values(properties: Any) -> dict[str, Any]:
    """Returns metadata properties as plain values."""
    return {
        name: getattr(value, value.WhichOneof("value"))
        for name, value in sorted(properties.items())
    }


def as_text(lineage: Lineage) -> list[str]:
    """Returns the lineage as lines a person reads from the push down to the batches."""
    lines = [f"Version {lineage.version}", f"  {lineage.path}"]
    for execution in lineage.executions:
        code = f"code {execution.code_version}" if execution.code_version else "TFX's own code"
        if execution.parameters.get(BY_HAND):
            code = "by hand"
        lines += ["", f"{execution.stage}  {execution.finished}  {code}"]
        if execution.trainer_module:
            lines.append(f"  with  {'Estimator':<16} {execution.trainer_module}")
        if execution.warm_start:
            lines.append(f"  from  {'weights':<16} of version {execution.warm_start}")
        for artifact_id in execution.outputs:
            artifact = lineage.artifacts.get(artifact_id)
            if artifact:
                lines.append(f"  made  {artifact.name:<16} {artifact.uri}{_holds(artifact)}")
        for artifact_id in execution.inputs:
            artifact = lineage.artifacts[artifact_id]
            maker = next(e.stage for e in lineage.executions if e.id == artifact.made_by)
            lines.append(f"  from  {artifact.name:<16} of {maker}")
        if not execution.inputs and "input_base" in execution.parameters:
            lines.append(f"  from  {execution.parameters['input_base']}")
            lines += [
                f"        {name:<18} sha256 {checksum}"
                for name, checksum in lineage.checksums.items()
            ]
    return lines


def _holds(artifact: Artifact) -> str:
    """Returns which pushed version a baseline is, in words."""
    is_baseline = artifact.type == "Model" and "pushed_version" in artifact.properties
    return f" (version {artifact.properties['pushed_version']})" if is_baseline else ""


def as_dot(lineage: Lineage) -> str:
    """Returns the lineage in Graphviz' language: stages as boxes, artifacts as ellipses."""
    lines = ["digraph lineage {", "  rankdir=LR;", '  node [fontname="sans-serif"];']
    for name, checksum in lineage.checksums.items():
        lines.append(f'  "{name}" [shape=note, label="{name}\\n{checksum[:12]}…"];')
    for execution in lineage.executions:
        label = f"{execution.stage}\\n{execution.code_version}".removesuffix("\\n")
        lines.append(f'  e{execution.id} [shape=box, style=rounded, label="{label}"];')
        lines += [f"  a{id_} -> e{execution.id};" for id_ in execution.inputs]
        if "input_base" in execution.parameters:
            lines += [f'  "{name}" -> e{execution.id};' for name in lineage.checksums]
    for artifact in lineage.artifacts.values():
        lines.append(f'  a{artifact.id} [label="{artifact.name} {artifact.id}"];')
        lines.append(f"  e{artifact.made_by} -> a{artifact.id};")
    lines += [
        f'  version [shape=folder, label="version {lineage.version}"];',
        f"  a{next(iter(lineage.artifacts))} -> version;",
        "}",
    ]
    return "\n".join(lines)
