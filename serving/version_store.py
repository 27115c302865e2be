"""Adds and removes versions, each atomically by one rename.

The stock Pusher copies file by file into the folder that TensorFlow Serving watches, names
the version after the current second, and mistakes an existing folder for its own work
(tfx/components/pusher/executor.py).
"""

import contextlib
import dataclasses
import logging
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from contract import records
from serving import model_registry, version_ledger
from serving.baseline import Candidate, accuracy_on
from serving.model_registry import Provenance, PushedVersion
from serving.version_ledger import LEDGER_FILE, QUARANTINE_PREFIX, VersionRecord

log = logging.getLogger("cifar.pusher")

STAGING_PREFIX = ".staging-"
RETIRED_PREFIX = ".retired-"
ABANDONED_SECONDS = 3_600  # at this age, the run of another machine's staging folder is dead


def find_pushed(model_dir: Path, provenance: Provenance) -> Path | None:
    """Returns the newest version if it is exactly this model and intact; else None.

    This is the case when a run was killed between its push and the record in the metadata, and
    when another run pushed the same training.
    """
    newest = next(reversed(model_registry.pushed_versions(model_dir)), None)
    if (
        newest is None
        or newest.provenance.training_fingerprint != provenance.training_fingerprint
        or newest.provenance.checksums != provenance.checksums
        or model_registry.find_fault(newest)
    ):
        return None
    return newest.path


def push(
    model: Path,
    model_dir: Path,
    provenance: Provenance,
    find_equal: Callable[[], Path | None] = lambda: None,
) -> Path:
    """Copies a SavedModel beside the versions, then renames it into place.

    Args:
        model: The folder of the SavedModel.
        model_dir: The folder of the versions, created if needed.
        provenance: The content of `assets.extra/pushed.json`. TensorFlow Serving reports its
            `model_artifact_id`, from `assets.extra/mlmd_uuid`.
        find_equal: Called when no other push can come between; if it returns a version, that
            is the result, and if it raises an exception, nothing is pushed.

    Returns:
        The folder of the new version. Its number is the Unix time, or one above the newest
        version if that is later: TensorFlow Serving serves the highest.

    Raises:
        OSError: `model_dir` cannot be written or does not support locks; pushed versions stay.
    """
    model_dir.mkdir(parents=True, exist_ok=True)
    staging = model_dir / f"{STAGING_PREFIX}{socket.gethostname()}-{uuid.uuid4().hex}"
    staging.mkdir()
    try:
        with version_ledger.held(staging):
            shutil.copytree(model, staging, dirs_exist_ok=True)
            extra = staging / "assets.extra"
            extra.mkdir(exist_ok=True)
            (extra / "mlmd_uuid").write_text(f"{provenance.model_artifact_id}\n")
            (staging / model_registry.PROVENANCE_FILE).write_text(records.to_json(provenance))
            _flush_to_disk(staging)
            with version_ledger.held(model_dir):
                version = find_equal() or _rename_to_next_version(staging, model_dir)
        if staging.exists():
            shutil.rmtree(staging)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    _flush(model_dir)
    return version


def retire_old_versions(model_dir: Path, keep_versions: int) -> None:
    """Deletes all but the newest `keep_versions`, hiding each by a rename first.

    Two kinds stay in addition: pinned versions, and the best on the eval of the newest, which
    is the baseline of the next candidate. Of the versions in quarantine, the newest
    `keep_versions` keep their files.
    """
    with version_ledger.held(model_dir):
        ledger = version_ledger.read(model_dir)
        unpinned = [
            version
            for version in model_registry.pushed_versions(model_dir)
            if not ledger.versions[version.number].is_pinned
        ]
        old = unpinned[:-keep_versions]
        if old:
            best = best_on_newest_eval(model_registry.pushed_versions(model_dir))
            old = [version for version in old if version != best]
        for version in old:
            record = dataclasses.replace(ledger.versions[version.number], is_retired=True)
            ledger = ledger.with_version(version.number, record)
        if old:
            version_ledger.write(model_dir, ledger)
        quarantined = sorted(model_dir.glob(f"{QUARANTINE_PREFIX}*"), key=_number_of)
        for folder in [*(version.path for version in old), *quarantined[:-keep_versions]]:
            retired = model_dir / f"{RETIRED_PREFIX}{_number_of(folder)}"
            folder.rename(retired)
            shutil.rmtree(retired)
            log.info("Retired version %d: %d are kept", _number_of(folder), keep_versions)


def best_on_newest_eval(versions: Sequence[PushedVersion]) -> PushedVersion | None:
    """Returns the most accurate of the versions judged on the newest one's eval."""
    newest = versions[-1].provenance
    judged = Candidate("", newest.data_fingerprint, newest.eval_fingerprint)
    best = max(versions, key=lambda one: (accuracy_on(judged, one.provenance), one.number))
    return best if accuracy_on(judged, best.provenance) >= 0 else None


def _number_of(folder: Path) -> int:
    """Returns the version in a folder's name: `17`, or `.quarantined-17`."""
    return int(folder.name.removeprefix(QUARANTINE_PREFIX))


def _rename_to_next_version(staging: Path, model_dir: Path) -> Path:
    """Renames `staging` to the next version and records it; no number is used twice."""
    ledger = version_ledger.read(model_dir)
    numbers = [
        int(path.name) for path in model_dir.iterdir() if model_registry.is_version(path.name)
    ]
    taken = [*numbers, *ledger.versions]
    number = max([int(time.time()), *(one + 1 for one in taken)])
    provenance = version_ledger.without_facts(model_registry.read_provenance(staging))
    # A rename onto a non-empty folder fails, so a simultaneous push stops here.
    version = staging.rename(model_dir / str(number))
    try:
        version_ledger.write(model_dir, ledger.with_version(number, VersionRecord(provenance)))
    except OSError as error:  # the folder says the same
        log.warning("Version %d is pushed, but not in %s: %s", number, LEDGER_FILE, error)
    return version


def remove_abandoned(model_dir: Path) -> None:
    """Deletes hidden folders that a killed run left behind."""
    for folder in model_dir.glob(f"{RETIRED_PREFIX}*"):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in model_dir.glob(f"{STAGING_PREFIX}*"):
        if _is_abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)
    for partial in model_dir.glob(f".{LEDGER_FILE}.partial"):
        with contextlib.suppress(OSError), version_ledger.held(model_dir, wait=False):
            partial.unlink()


def _is_abandoned(staging: Path) -> bool:
    """Returns whether no push uses a staging folder any more.

    A push on this machine holds a lock on it. A push on another machine, whose locks may be
    invisible here, has an hour.
    """
    try:
        if staging.name.startswith(f"{STAGING_PREFIX}{socket.gethostname()}-"):
            with version_ledger.held(staging, wait=False):
                return True
        return time.time() - staging.stat().st_mtime > ABANDONED_SECONDS
    except OSError:  # locked, or renamed to a version just now
        return False


def _flush_to_disk(folder: Path) -> None:
    """Waits until all files below `folder` are on disk, so a power cut leaves no half model."""
    for path in folder.rglob("*"):
        _flush(path)
    _flush(folder)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
