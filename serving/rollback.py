"""Manual changes to versions: roll back, release, pin. Each can be undone.

A server may be serving the folder. A rollback pushes the chosen model again under the next
number, and only then hides the version it replaces by a rename. TensorFlow Serving loads the
new version and unloads the old one once the new one is available.
"""

import dataclasses
import logging
from pathlib import Path

from contract import terminal
from serving import model_registry, version_ledger, version_store
from serving.model_registry import PushedVersion
from serving.version_ledger import (
    QUARANTINE_PREFIX,
    Action,
    Change,
    Ledger,
    Version,
    VersionRecord,
)

log = logging.getLogger("cifar.versions")


def roll_back(model_dir: Path, version: int | None = None, quarantine: bool = True) -> Change:
    """Serves the model of an earlier version again, under the next number.

    After a rollback that was killed, the same call finishes it.

    Args:
        model_dir: The folder of the versions.
        version: The version to restore; by default, the newest intact one from a different
            training than the one served.
        quarantine: Whether to bar the replaced version, and others of the same model, from
            being a baseline or being pushed again, until they are released.

    Raises:
        LookupError: There is no such version.
        ValueError: It or its model is already served, or it is broken or in quarantine.
        OSError: The folder cannot be written.
    """
    check_exists(model_dir)
    with version_ledger.held(model_dir):
        finish_quarantine(model_dir)
        finished = _finish_killed(model_dir)
        if finished and version in (None, finished.restored):
            return finished
        ledger = version_ledger.read(model_dir)
        versions = model_registry.pushed_versions(model_dir)
        if not versions:
            raise LookupError(f"{model_dir} contains no version, so nothing can be replaced.")
        served = versions[-1]
        chosen = find_target(versions, ledger, version, model_dir)
        banned = [
            one.number
            for one in versions
            if one is served or version_ledger.is_same_model(one.provenance, served.provenance)
        ]
        if not quarantine or version_ledger.is_same_model(chosen.provenance, served.provenance):
            banned = []
        change = Change(
            version_ledger.now(),
            "rollback",
            version=0,
            restored=chosen.number,
            replaced=served.number,
            quarantined=banned,
        )
        # Marked before anything is served, so that a killed rollback can be continued.
        for number in banned:
            why = f"rolled back to {chosen.number} on {change.time[:16]}"
            record = dataclasses.replace(ledger.versions[number], quarantined=why)
            ledger = ledger.with_version(number, record)
        version_ledger.write(model_dir, dataclasses.replace(ledger, started=change))
    provenance = dataclasses.replace(chosen.provenance, restored_from=chosen.number)
    new = version_store.push(chosen.path, model_dir, provenance)
    with version_ledger.held(model_dir):
        finish_quarantine(model_dir)
        return _record(model_dir, change, int(new.name))


def _finish_killed(model_dir: Path) -> Change | None:
    """Records a rollback that was killed after its push; returns it, or None."""
    started = version_ledger.read(model_dir).started
    newest = next(reversed(model_registry.pushed_versions(model_dir)), None)
    if (
        started is None
        or newest is None
        or newest.provenance.restored_from != started.restored
        or newest.number <= started.replaced
    ):
        return None
    return _record(model_dir, started, newest.number)


def _record(model_dir: Path, started: Change, version: int) -> Change:
    """Records a rollback once, with the version that it pushed."""
    change = dataclasses.replace(started, version=version)
    ledger = version_ledger.read(model_dir)
    if change not in ledger.changes:  # another call may have just finished it
        ledger = ledger.with_change(change)
    version_ledger.write(model_dir, dataclasses.replace(ledger, started=None))
    return change


def find_target(
    versions: list[PushedVersion], ledger: Ledger, version: int | None, model_dir: Path
) -> PushedVersion:
    """Returns the version to go back to; raises as `roll_back` does."""
    served = versions[-1]
    if version is None:
        for one in reversed(versions[:-1]):
            is_other = not version_ledger.is_same_model(one.provenance, served.provenance)
            is_trusted = not ledger.versions[one.number].quarantined
            if is_other and is_trusted and not model_registry.find_fault(one):
                return one
        raise LookupError(
            f"{model_dir} has no intact version of a model other than {served.number}, which "
            "is served. `cifar versions` lists all versions; a run can push another model."
        )
    if version in ledger.versions and ledger.versions[version].quarantined:
        raise ValueError(
            f"Version {version} is in quarantine ({ledger.versions[version].quarantined}). "
            f"`cifar rollback --release {version}` releases it."
        )
    chosen = next((one for one in versions if one.number == version), None)
    if chosen is None:
        kept = ", ".join(str(one.number) for one in versions)
        raise LookupError(f"{model_dir} has no version {version}. It has: {kept}.")
    if chosen is served:
        raise ValueError(f"Version {version} is already served.")
    is_same = version_ledger.is_same_model(chosen.provenance, served.provenance)
    if is_same and not model_registry.find_fault(served):
        raise ValueError(
            f"Version {served.number} is served and already contains the model of {version}. "
            "`cifar versions` lists all versions."
        )
    if fault := model_registry.find_fault(chosen):
        raise ValueError(f"{chosen.path} is broken: {fault}. Choose another version.")
    return chosen


def finish_quarantine(model_dir: Path) -> None:
    """Hides versions in quarantine by a rename, except one that is served."""
    ledger = version_ledger.read(model_dir)
    for one in model_registry.pushed_versions(model_dir)[:-1]:
        if ledger.versions[one.number].quarantined:
            one.path.rename(model_dir / f"{QUARANTINE_PREFIX}{one.number}")


def release(model_dir: Path, version: int) -> Change:
    """Takes a version out of quarantine, with others of the same model.

    They may then be a baseline, be restored, and be pushed again. The same goes for a version
    that was deleted by hand.

    Raises:
        ValueError: It is neither in quarantine nor deleted.
        OSError: The folder cannot be written.
    """
    check_exists(model_dir)
    with version_ledger.held(model_dir):
        versions = version_ledger.list_versions(model_dir)
        banned = [one for one in versions if is_banned(one)]
        found = next((one for one in banned if one.number == version), None)
        if found is None:
            raise ValueError(f"Version {version} of {model_dir} is not in quarantine.")
        ledger = version_ledger.read(model_dir)
        for one in banned:
            if one is found or version_ledger.is_same_model(
                one.record.provenance, found.record.provenance
            ):
                record = _bring_back(model_dir, one)
                ledger = ledger.with_version(one.number, record)
        change = Change(version_ledger.now(), "release", version)
        version_ledger.write(model_dir, ledger.with_change(change))
    return change


def is_banned(version: Version) -> bool:
    """Returns whether a version is in quarantine or was deleted by hand."""
    return bool(version.record.quarantined) or version.state == version_ledger.DELETED


def _bring_back(model_dir: Path, version: Version) -> VersionRecord:
    """Returns the record of a released version, and restores its folder if it exists."""
    folder = model_dir / str(version.number)
    hidden = model_dir / f"{QUARANTINE_PREFIX}{version.number}"
    if hidden.is_dir():
        hidden.rename(folder)
    return dataclasses.replace(version.record, quarantined="", is_retired=not folder.is_dir())


def pin(model_dir: Path, version: int, is_pinned: bool = True) -> Change:
    """Protects a version from being retired, or ends that.

    Raises:
        LookupError: Its folder does not exist.
        OSError: The folder cannot be written.
    """
    check_exists(model_dir)
    action: Action = "pin" if is_pinned else "unpin"
    with version_ledger.held(model_dir):
        numbers = [one.number for one in model_registry.pushed_versions(model_dir)]
        if version not in numbers:
            kept = ", ".join(map(str, numbers)) or "none"
            raise LookupError(f"{model_dir} has no version {version}. It has: {kept}.")
        ledger = version_ledger.read(model_dir)
        record = dataclasses.replace(ledger.versions[version], is_pinned=is_pinned)
        change = Change(version_ledger.now(), action, version)
        version_ledger.write(
            model_dir, ledger.with_version(version, record).with_change(change)
        )
    return change


def check_exists(model_dir: Path) -> None:
    """Raises FileNotFoundError if there is no folder of versions."""
    if not model_dir.is_dir():
        raise FileNotFoundError(
            f"{model_dir} does not exist: nothing has been pushed there. `cifar run` pushes a "
            "model; --output or --serving-dir says where to look."
        )


def rolled_back_lines(change: Change) -> list[str]:
    """Returns what a rollback did, what servers do next, and how to undo it."""
    lines = [
        f"Version {change.version} contains the model of {change.restored} and replaces "
        f"{change.replaced}.",
        *_next_of_servers(change.version, change.replaced),
    ]
    if not change.quarantined:
        undo = f"Undo       cifar rollback {change.replaced} --no-quarantine"
        return [*lines, terminal.Command(undo)]
    names = ", ".join(map(str, change.quarantined))
    return [
        *lines,
        f"Quarantine {names}: not used as a baseline, and not pushed again.",
        terminal.Command(
            f"Undo       cifar rollback --release {change.replaced} && "
            f"cifar rollback {change.replaced} --no-quarantine"
        ),
    ]


def released_lines(model_dir: Path, version: int) -> list[str]:
    """Returns the effect of a release, and what servers and runs will do."""
    versions = model_registry.pushed_versions(model_dir)
    numbers = [one.number for one in versions]
    if version not in numbers:
        return [
            f"Version {version} is released. Its files are gone; the next run with its "
            "settings pushes the model again.",
        ]
    if version == numbers[-1]:
        return [f"Version {version} is released and is the highest, so servers load it."]
    return [
        f"Version {version} is released and kept; {numbers[-1]} is still served.",
        terminal.Command(f"Serve it   cifar rollback {version}"),
    ]


def _next_of_servers(new: int, old: int) -> list[str]:
    return [
        f"Servers    TensorFlow Serving and `cifar serve` load {new} when they next poll the "
        f"folder (every second by default),",
        f"           then unload {old}. A server configured for specific versions waits for a "
        "new config.",
    ]
