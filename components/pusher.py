"""The safe push: a version appears in the serving folder whole, by one rename.

The stock Pusher copies file by file into the folder TensorFlow Serving watches, names
it after the second, and takes a folder that is already there for its own work
(tfx/components/pusher/executor.py).
"""

import contextlib
import fcntl
import json
import logging
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from tfx import types
from tfx.components.pusher import executor as stock_executor
from tfx.components.pusher.component import Pusher as StockPusher
from tfx.dsl.components.base import executor_spec
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils

from contract import records
from serving import model_registry
from serving.model_registry import Provenance

log = logging.getLogger("cifar.pusher")

STAGING_PREFIX = ".staging-"
RETIRED_PREFIX = ".retired-"
ABANDONED_SECONDS = 3_600  # another machine's staging folder this old: its run was killed


class Executor(stock_executor.Executor):
    """Pushes a blessed model and retires the oldest versions."""

    def Do(  # noqa: N802 - the name TFX calls
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes to `push_destination.filesystem.base_directory` if every blessing is given.

        Raises:
            OSError: The folder cannot be written; what is pushed already stays.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed_model = artifact_utils.get_single_instance(output_dict["pushed_model"])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed_model)
            return
        destination = json_format.Parse(
            exec_properties["push_destination"], pusher_pb2.PushDestination()
        )
        custom_config = json.loads(exec_properties["custom_config"])
        model_dir = Path(destination.filesystem.base_directory)
        candidate = artifact_utils.get_single_instance(input_dict["model"])
        model = Path(self.GetModelPath(input_dict))
        provenance = Provenance(
            training_fingerprint=custom_config["training_fingerprint"],
            model_artifact_id=candidate.id,
            model_artifact_uri=candidate.uri,
            checksums=model_registry.checksums(model),
        )
        remove_abandoned(model_dir)
        version = find_pushed(model_dir, provenance) or push(model, model_dir, provenance)
        self._MarkPushed(
            pushed_model, pushed_destination=str(version), pushed_version=version.name
        )
        log.info("Pushed version %s to %s", version.name, version)
        try:
            retire_old_versions(model_dir, custom_config["keep_versions"])
        except OSError as error:
            log.warning("Version %s is pushed, but an old one stays: %s", version.name, error)


class Pusher(StockPusher):
    """Pushes the blessed candidate as the next version, atomically."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)


def find_pushed(model_dir: Path, provenance: Provenance) -> Path | None:
    """Returns the newest version if it is this very model, whole; else None.

    So it is when a run was killed between its push and the record of it in the metadata.
    """
    newest = next(reversed(model_registry.pushed_versions(model_dir)), None)
    if (
        newest is None
        or newest.provenance.model_artifact_uri != provenance.model_artifact_uri
        or newest.provenance.checksums != provenance.checksums
        or model_registry.find_fault(newest)
    ):
        return None
    return newest.path


def push(model: Path, model_dir: Path, provenance: Provenance) -> Path:
    """Copies a SavedModel beside the versions, then renames it into place.

    Args:
        model: The folder of the SavedModel.
        model_dir: The folder of the versions; made if it is not there.
        provenance: What `assets.extra/pushed.json` says of the model. TensorFlow Serving
            reports its `model_artifact_id`, from `assets.extra/mlmd_uuid`.

    Returns:
        The folder of the new version. Its number is the Unix time, or one above the newest
        version if that is later: TensorFlow Serving serves the highest.

    Raises:
        OSError: `model_dir` cannot be written, or knows no locks. What is pushed stays.
    """
    model_dir.mkdir(parents=True, exist_ok=True)
    staging = model_dir / f"{STAGING_PREFIX}{socket.gethostname()}-{uuid.uuid4().hex}"
    staging.mkdir()
    try:
        with _locked(staging):
            shutil.copytree(model, staging, dirs_exist_ok=True)
            extra = staging / "assets.extra"
            extra.mkdir(exist_ok=True)
            (extra / "mlmd_uuid").write_text(f"{provenance.model_artifact_id}\n")
            (staging / model_registry.PROVENANCE_FILE).write_text(records.to_json(provenance))
            _flush_to_disk(staging)
            version = _rename_to_next_version(staging, model_dir)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    _flush(model_dir)
    return version


def retire_old_versions(model_dir: Path, keep_versions: int) -> None:
    """Deletes all but the newest `keep_versions`, each renamed out of sight first."""
    for version in model_registry.pushed_versions(model_dir)[:-keep_versions]:
        retired = version.path.with_name(f"{RETIRED_PREFIX}{version.number}")
        version.path.rename(retired)
        shutil.rmtree(retired)
        log.info("Retired version %d: the newest %d are kept", version.number, keep_versions)


def _rename_to_next_version(staging: Path, model_dir: Path) -> Path:
    """Renames `staging` to the next version; one that is there is never replaced."""
    numbers = [
        int(path.name) for path in model_dir.iterdir() if model_registry.is_version(path.name)
    ]
    version = model_dir / str(max([int(time.time()), *(taken + 1 for taken in numbers)]))
    # A rename onto a folder with content fails, so a push at the same moment stops here.
    return staging.rename(version)


def remove_abandoned(model_dir: Path) -> None:
    """Deletes hidden folders that a killed run left behind."""
    for folder in model_dir.glob(f"{RETIRED_PREFIX}*"):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in model_dir.glob(f"{STAGING_PREFIX}*"):
        if _is_abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(staging: Path) -> bool:
    """Returns whether nobody is pushing from a staging folder any more.

    A push of this machine holds a lock on it; one of another machine, whose locks we may not
    see, has an hour.
    """
    try:
        if staging.name.startswith(f"{STAGING_PREFIX}{socket.gethostname()}-"):
            with _locked(staging):
                return True
        return time.time() - staging.stat().st_mtime > ABANDONED_SECONDS
    except OSError:  # locked, or renamed to a version just now
        return False


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds a folder for this process, until it lets go or ends.

    Raises:
        BlockingIOError: Another process holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _flush_to_disk(folder: Path) -> None:
    """Waits until every file below `folder` is on disk: a power cut leaves no torn model."""
    for path in folder.rglob("*"):
        _flush(path)
    _flush(folder)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
