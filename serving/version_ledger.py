"""The history of all versions, in one file in the folder of the versions.

TensorFlow Serving only reads names that are numbers, so it ignores this file and the folders of
quarantined versions. A folder with a number is served or kept, whatever the file says. The file
adds what folders cannot record: pins, and versions that are gone.
"""

import contextlib
import dataclasses
import datetime
import fcntl
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

from contract import records
from contract.writing import write_whole
from serving import model_registry
from serving.model_registry import Provenance

log = logging.getLogger("cifar.versions")

LEDGER_FILE = ".versions.json"
QUARANTINE_PREFIX = ".quarantined-"

State = Literal["served", "kept", "retired", "quarantined", "deleted"]
SERVED: Final = "served"  # the highest number, which TensorFlow Serving loads
KEPT: Final = "kept"  # for rollbacks, and for comparison with candidates
RETIRED: Final = "retired"  # deleted by the Pusher, beyond `keep_versions`
QUARANTINED: Final = "quarantined"  # never a baseline, never pushed again
DELETED: Final = "deleted"  # by hand; not pushed again either

Action = Literal["rollback", "release", "pin", "unpin"]


@dataclasses.dataclass(frozen=True)
class VersionRecord:
    """The record of a version, even if its folder is gone.

    Attributes:
        quarantined: The reason; empty if it is not quarantined.
    """

    provenance: Provenance = dataclasses.field(default_factory=Provenance)
    is_retired: bool = False
    is_pinned: bool = False
    quarantined: str = ""


@dataclasses.dataclass(frozen=True)
class Change:
    """A manual change to a version.

    Attributes:
        time: ISO 8601, with the offset of the local time.
        version: The version; for a rollback, the new number, or 0 before its push.
        restored: For a rollback, the version whose model is served again.
        replaced: For a rollback, the version that was served.
        quarantined: The versions that were quarantined with it.
    """

    time: str
    action: Action
    version: int
    restored: int = 0
    replaced: int = 0
    quarantined: Sequence[int] = ()


@dataclasses.dataclass(frozen=True)
class Ledger:
    """Every version by its number, and every change, oldest first.

    Attributes:
        started: The rollback that is running, or was killed.
    """

    versions: Mapping[int, VersionRecord] = dataclasses.field(default_factory=dict)
    changes: Sequence[Change] = ()
    started: Change | None = None

    def with_version(self, number: int, record: VersionRecord) -> "Ledger":
        """Returns the ledger with another record of a version."""
        return dataclasses.replace(self, versions={**self.versions, number: record})

    def with_change(self, change: Change) -> "Ledger":
        """Returns the ledger with one more change."""
        return dataclasses.replace(self, changes=[*self.changes, change])


@dataclasses.dataclass(frozen=True)
class Version:
    """A version, from its folder and the ledger."""

    number: int
    state: State
    record: VersionRecord


def read(model_dir: Path) -> Ledger:
    """Returns the ledger, completed from the folders of the versions.

    If the file cannot be read, warns and uses only the folders.
    """
    path = model_dir / LEDGER_FILE
    ledger = Ledger()
    try:
        if path.exists():
            ledger = records.from_json(Ledger, path.read_bytes())
    except (OSError, ValueError) as error:
        log.warning(
            "%s cannot be read: %s. Pins and the names of deleted versions are lost; "
            "`cifar versions pin` sets a pin again.",
            path,
            error,
        )
    found = {
        version.number: VersionRecord(without_facts(version.provenance))
        for version in model_registry.pushed_versions(model_dir)
    }
    for folder in model_dir.glob(f"{QUARANTINE_PREFIX}*"):
        number = int(folder.name.removeprefix(QUARANTINE_PREFIX))
        provenance = model_registry.read_provenance(folder)
        found[number] = VersionRecord(
            without_facts(provenance), quarantined="the reason is lost"
        )
    return dataclasses.replace(ledger, versions={**found, **ledger.versions})


def without_facts(provenance: Provenance) -> Provenance:
    """Returns the provenance that the ledger keeps forever, without the facts of the data."""
    return dataclasses.replace(provenance, data_facts=None)


def write(model_dir: Path, ledger: Ledger) -> None:
    """Writes the ledger atomically; the caller must hold the folder (`held`)."""
    write_whole(model_dir / LEDGER_FILE, records.to_json(ledger))


def list_versions(model_dir: Path) -> list[Version]:
    """Returns all versions, past and present, oldest first."""
    ledger = read(model_dir)
    there = [version.number for version in model_registry.pushed_versions(model_dir)]

    def state_of(number: int) -> State:
        record = ledger.versions[number]
        if there and number == there[-1]:
            return SERVED
        if record.quarantined:
            return QUARANTINED
        if number in there:
            return KEPT
        is_broken = (model_dir / str(number)).exists()
        return RETIRED if record.is_retired or is_broken else DELETED

    return [
        Version(number, state_of(number), ledger.versions[number])
        for number in sorted(ledger.versions)
    ]


def is_same_model(one: Provenance, other: Provenance) -> bool:
    """Returns whether two versions are from one training, or have the same files."""
    if one.training_fingerprint and one.training_fingerprint == other.training_fingerprint:
        return True
    return bool(one.checksums) and one.checksums == other.checksums


def find_ban(model_dir: Path, provenance: Provenance) -> int | None:
    """Returns the version that bars a model from being pushed or trusted; None if none does.

    Such a version contains the same model and was quarantined or deleted by hand. A deletion
    does not count if another version of the model is still kept.
    """
    same = [
        version
        for version in list_versions(model_dir)
        if is_same_model(version.record.provenance, provenance)
    ]
    quarantined = [one.number for one in same if one.record.quarantined]
    if quarantined:
        return quarantined[-1]
    if any(one.state in (SERVED, KEPT) for one in same):
        return None
    return next((one.number for one in reversed(same) if one.state == DELETED), None)


@contextlib.contextmanager
def held(folder: Path, wait: bool = True) -> Iterator[None]:
    """Locks a folder for this process, until the block or the process ends.

    Raises:
        BlockingIOError: Another process holds it, and `wait` is False.
        OSError: The folder does not exist, or its file system does not support locks.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def now() -> str:
    """Returns the time of a change."""
    return datetime.datetime.now().astimezone().isoformat(timespec="milliseconds")
