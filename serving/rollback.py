"""What a person does to versions: roll back, release, pin. Each can be undone.

A server may serve the folder meanwhile. A rollback pushes the chosen model once more, under the
next number, and only then renames the version it replaces out of sight: TensorFlow Serving
loads the new one, and lets go of the old one when that answers.
"""

import dataclasses
import logging
from pathlib import Path

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

    Args:
        model_dir: The folder of the versions.
        version: Whose model; by default the newest whole one of another training than the one
            served.
        quarantine: Whether the version it replaces, and others of the same model, may never
            be a baseline nor pushed again until they are released.

    Raises:
        LookupError: There is no such version to go back to.
        ValueError: It is served already, broken, or in quarantine.
        OSError: The folder cannot be written.
    """
    check_exists(model_dir)
    with version_ledger.held(model_dir):
        finish_quarantine(model_dir)
        ledger = version_ledger.read(model_dir)
        versions = model_registry.pushed_versions(model_dir)
        if not versions:
            raise LookupError(f"{model_dir} holds no version, so there is nothing to replace.")
        served = versions[-1]
        chosen = find_target(versions, ledger, version, model_dir)
        banned = [
            one.number
            for one in versions
            if one is served or version_ledger.is_same_model(one.provenance, served.provenance)
        ]
        if not quarantine:
            banned = []
        # Marked before anything is served: who comes back after a kill goes on from here.
        for number in banned:
            why = f"rolled back to {chosen.number} on {version_ledger.now()[:16]}"
            record = dataclasses.replace(ledger.versions[number], quarantined=why)
            ledger = ledger.with_version(number, record)
        if banned:
            version_ledger.write(model_dir, ledger)
    provenance = dataclasses.replace(chosen.provenance, restored_from=chosen.number)
    new = version_store.push(chosen.path, model_dir, provenance)
    with version_ledger.held(model_dir):
        finish_quarantine(model_dir)
        change = Change(
            version_ledger.now(),
            "rollback",
            int(new.name),
            restored=chosen.number,
            replaced=served.number,
            quarantined=banned,
        )
        version_ledger.write(model_dir, version_ledger.read(model_dir).with_change(change))
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
            f"{model_dir} keeps no whole version of another model than {served.number}, which "
            "is served. `cifar versions` lists what there is; a run pushes another model."
        )
    if version in ledger.versions and ledger.versions[version].quarantined:
        raise ValueError(
            f"Version {version} is in quarantine ({ledger.versions[version].quarantined}). "
            f"`cifar rollback --release {version}` takes it out."
        )
    chosen = next((one for one in versions if one.number == version), None)
    if chosen is None:
        kept = ", ".join(str(one.number) for one in versions)
        raise LookupError(f"{model_dir} keeps no version {version}. Kept: {kept}.")
    if chosen is served:
        raise ValueError(f"Version {version} is served already.")
    if fault := model_registry.find_fault(chosen):
        raise ValueError(f"{chosen.path} is broken: {fault}. Choose another version.")
    return chosen


def finish_quarantine(model_dir: Path) -> None:
    """Renames versions that are in quarantine out of sight, but for one that is served."""
    ledger = version_ledger.read(model_dir)
    for one in model_registry.pushed_versions(model_dir)[:-1]:
        if ledger.versions[one.number].quarantined:
            one.path.rename(model_dir / f"{QUARANTINE_PREFIX}{one.number}")


def release(model_dir: Path, version: int) -> Change:
    """Takes a version out of quarantine, with others of the same model.

    They may be a baseline, be rolled back to, be pushed again; so may one that was deleted by
    hand.

    Raises:
        ValueError: It is not in quarantine, nor deleted.
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
    """Returns whether a version is in quarantine, or was deleted by hand."""
    return bool(version.record.quarantined) or version.state == version_ledger.DELETED


def _bring_back(model_dir: Path, version: Version) -> VersionRecord:
    """Returns the record of a version that is released, its folder back if there is one."""
    folder = model_dir / str(version.number)
    hidden = model_dir / f"{QUARANTINE_PREFIX}{version.number}"
    if hidden.is_dir():
        hidden.rename(folder)
    return dataclasses.replace(version.record, quarantined="", is_retired=not folder.is_dir())


def pin(model_dir: Path, version: int, is_pinned: bool = True) -> Change:
    """Keeps a version from being retired, or no longer does.

    Raises:
        LookupError: It is not there to be kept.
        OSError: The folder cannot be written.
    """
    check_exists(model_dir)
    action: Action = "pin" if is_pinned else "unpin"
    with version_ledger.held(model_dir):
        numbers = [one.number for one in model_registry.pushed_versions(model_dir)]
        if version not in numbers:
            kept = ", ".join(map(str, numbers)) or "none"
            raise LookupError(f"{model_dir} keeps no version {version}. Kept: {kept}.")
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
        f"Version {change.version} holds the model of {change.restored} and replaces "
        f"{change.replaced}.",
        *_next_of_servers(change.version, change.replaced),
    ]
    if not change.quarantined:
        return [*lines, f"Undo       cifar rollback {change.replaced} --no-quarantine"]
    names = ", ".join(map(str, change.quarantined))
    return [
        *lines,
        f"Quarantine {names}: no baseline, and no run pushes this model again.",
        f"Undo       cifar rollback --release {change.replaced} && "
        f"cifar rollback {change.replaced} --no-quarantine",
    ]


def released_lines(model_dir: Path, version: int) -> list[str]:
    """Returns what a release did, and what servers and runs do next."""
    versions = model_registry.pushed_versions(model_dir)
    numbers = [one.number for one in versions]
    if version not in numbers:
        return [
            f"Version {version} is released. Its files are gone; the next run of its settings "
            "pushes the model again.",
        ]
    if version == numbers[-1]:
        return [f"Version {version} is released and the highest: TensorFlow Serving loads it."]
    return [
        f"Version {version} is released and kept; {numbers[-1]} is served on.",
        f"Serve it   cifar rollback {version}",
    ]


def _next_of_servers(new: int, old: int) -> list[str]:
    return [
        f"Servers    TensorFlow Serving and `cifar serve` load {new} at their next look at the "
        f"folder (every second by default),",
        f"           and unload {old} when it answers. One that is told to serve specific "
        "versions waits for a new config.",
    ]
