"""Copies manual changes to versions from the ledger to ML Metadata, as executions."""

import functools
import time
from collections.abc import Callable
from pathlib import Path

from ml_metadata import errors
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as proto

from report import lineage
from serving import version_ledger
from serving.version_ledger import Change

PUSHED_MODEL = "PushedModel"  # TFX's type
OUTPUT = "pushed_model"
ATTEMPTS = 20  # a run may be writing to the same SQLite file
SECONDS_BETWEEN = 0.2


def record_changes(connection: proto.ConnectionConfig, model_dir: Path) -> int:
    """Records every change in the ledger that the metadata lack; returns their number.

    A rollback reads the version whose model it restored and the one it replaced, and makes the
    new one; a pin or a release reads its version.

    Raises:
        ml_metadata.errors.StatusError: The metadata cannot be written.
    """
    changes = version_ledger.read(model_dir).changes
    store = metadata_store.MetadataStore(connection)
    known = {execution.name for execution in store.get_executions()}
    missing = [change for change in changes if _name(change, model_dir) not in known]
    for change in missing:
        _retried(functools.partial(_put, store, change, model_dir))
    return len(missing)


def _name(change: Change, model_dir: Path) -> str:
    return f"{model_dir}:{change.action}:{change.version}:{change.time}"


def _put(store: metadata_store.MetadataStore, change: Change, model_dir: Path) -> None:
    """Writes one change in one transaction, apart from the types."""
    kind = store.put_execution_type(
        proto.ExecutionType(name=f"cifar.versions.{change.action.capitalize()}")
    )
    execution = proto.Execution(
        type_id=kind,
        name=_name(change, model_dir),
        last_known_state=proto.Execution.COMPLETE,
    )
    for name in ("version", "restored", "replaced"):
        if value := getattr(change, name):
            execution.custom_properties[name].int_value = value
    execution.custom_properties["quarantined"].string_value = ", ".join(
        map(str, change.quarantined)
    )
    execution.custom_properties["time"].string_value = change.time
    execution.custom_properties[lineage.BY_HAND].int_value = 1
    pairs = []
    is_rollback = change.action == "rollback"
    read = (change.restored, change.replaced) if is_rollback else (change.version,)
    for number in read:
        artifact = _find(store, number, model_dir)
        if artifact:
            pairs.append((artifact, proto.Event(type=proto.Event.INPUT)))
    if is_rollback:
        event = proto.Event(type=proto.Event.OUTPUT)
        event.path.steps.add().key = OUTPUT
        event.path.steps.add().index = 0
        pairs.append((_new_push(store, change.version, model_dir), event))
    store.put_execution(execution, pairs, [])


def _find(
    store: metadata_store.MetadataStore, number: int, model_dir: Path
) -> proto.Artifact | None:
    """Returns the push of a version; None if another store has it."""
    for artifact in store.get_artifacts_by_type(PUSHED_MODEL):
        properties = artifact.custom_properties
        folder = properties["pushed_destination"].string_value
        if folder and Path(folder) == model_dir / str(number):
            return artifact
    return None


def _new_push(
    store: metadata_store.MetadataStore, number: int, model_dir: Path
) -> proto.Artifact:
    """Returns the artifact of a version that a rollback made, like those of the Pusher."""
    kind = store.put_artifact_type(
        proto.ArtifactType(name=PUSHED_MODEL), can_omit_fields=True, can_add_fields=True
    )
    folder = str(model_dir / str(number))
    artifact = proto.Artifact(type_id=kind, uri=folder, state=proto.Artifact.LIVE)
    artifact.custom_properties["pushed"].int_value = 1
    artifact.custom_properties["pushed_version"].string_value = str(number)
    artifact.custom_properties["pushed_destination"].string_value = folder
    return artifact


def _retried(put: Callable[[], None]) -> None:
    """Repeats a function while another process has locked the database."""
    for attempt in range(ATTEMPTS):
        try:
            put()
            return
        except (errors.AbortedError, errors.InternalError, errors.UnavailableError):
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(SECONDS_BETWEEN)
