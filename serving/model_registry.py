"""The serving folder as a list of versions: what is pushed, by whom, and what is newest.

`<serving root>/<model name>/<version>/saved_model.pb`, where a version is a whole number.
Names that are no number (`.staging-…`, `.retired-…`) are invisible to TensorFlow Serving
(serving/sources/storage_path/file_system_storage_path_source.cc) and to us.
"""

import dataclasses
import json
from pathlib import Path

PROVENANCE_FILE = "assets.extra/pushed.json"


@dataclasses.dataclass(frozen=True)
class PushedVersion:
    """One version in the serving folder."""

    number: int
    path: Path
    training_fingerprint: str  # empty if the folder does not say


def pushed_versions(model_dir: Path) -> list[PushedVersion]:
    """Returns the versions that hold a SavedModel, oldest first; none if there is no folder."""
    if not model_dir.is_dir():
        return []
    versions = [
        _read_version(folder)
        for folder in model_dir.iterdir()
        if is_version(folder.name) and holds_model(folder)
    ]
    return sorted(versions, key=lambda version: version.number)


def is_version(name: str) -> bool:
    """Returns whether TensorFlow Serving reads a folder of this name as a version."""
    return name.isascii() and name.isdigit()


def holds_model(folder: Path) -> bool:
    """Returns whether a folder holds a SavedModel."""
    return (folder / "saved_model.pb").is_file()


def newest_other_version(model_dir: Path, training_fingerprint: str) -> PushedVersion | None:
    """Returns the newest version that was trained differently, or None.

    A model is never its own baseline: the second run of an equal training compares with
    what the first compared with, so its evaluation is found in the cache.
    """
    others = [
        version
        for version in pushed_versions(model_dir)
        if version.training_fingerprint != training_fingerprint
    ]
    return others[-1] if others else None


def _read_version(folder: Path) -> PushedVersion:
    provenance = folder / PROVENANCE_FILE
    fields = json.loads(provenance.read_text()) if provenance.is_file() else {}
    return PushedVersion(int(folder.name), folder, fields.get("training_fingerprint", ""))
