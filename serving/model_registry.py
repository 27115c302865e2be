"""Lists the versions in the serving folder, with the origin of each.

The layout is `<serving root>/<model name>/<version>/saved_model.pb`; a version is a whole
number. TensorFlow Serving ignores other names, such as `.staging-…` and `.retired-…`
(serving/sources/storage_path/file_system_storage_path_source.cc), and so do we.
"""

import dataclasses
import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

from contract import records
from contract.data_facts import DataFacts

log = logging.getLogger("cifar.model_registry")

PROVENANCE_FILE = "assets.extra/pushed.json"
MODEL_FILE = "saved_model.pb"
MODEL_FILES = (MODEL_FILE, "variables/**/*", "assets/**/*")


@dataclasses.dataclass(frozen=True)
class Provenance:
    """The origin of a pushed model, as recorded in its folder; empty if it is not.

    Attributes:
        training_fingerprint: Identifies the training it came from.
        model_artifact_id: Artifact id of the Trainer's output.
        model_artifact_uri: Where the Trainer wrote it.
        checksums: SHA-256 of each file of the model, by its path in the folder.
        data_fingerprint: Identifies all the batches it was trained and judged on.
        eval_fingerprint: Identifies the batches it was judged on.
        accuracy: Accuracy on those; None if unknown.
        data_facts: Facts about its data; None if unknown.
        restored_from: The version it is a copy of, if a rollback made it.
        start_version: The version whose weights its training started from; `none` if there was
            none to start from, empty if it was to start from random ones.
        start_weights: Identifies these weights.
    """

    training_fingerprint: str = ""
    model_artifact_id: int = 0
    model_artifact_uri: str = ""
    checksums: Mapping[str, str] = dataclasses.field(default_factory=dict)
    data_fingerprint: str = ""
    eval_fingerprint: str = ""
    accuracy: float | None = None
    restored_from: int | None = None
    data_facts: DataFacts | None = None
    start_version: str = ""
    start_weights: str = ""


@dataclasses.dataclass(frozen=True)
class PushedVersion:
    """One version in the serving folder."""

    number: int
    path: Path
    provenance: Provenance


def pushed_versions(model_dir: Path) -> list[PushedVersion]:
    """Returns the versions that contain a SavedModel, oldest first."""
    if not model_dir.is_dir():
        return []
    versions = [
        read_version(folder)
        for folder in model_dir.iterdir()
        if is_version(folder.name) and holds_model(folder)
    ]
    return sorted(versions, key=lambda version: version.number)


def is_version(name: str) -> bool:
    """Returns whether TensorFlow Serving reads a folder of this name as a version."""
    return name.isascii() and name.isdigit()


def holds_model(folder: Path) -> bool:
    """Returns whether a folder contains a SavedModel, even a broken one."""
    return (folder / MODEL_FILE).is_file()


def find_fault(version: PushedVersion) -> str | None:
    """Returns what is broken in a version's files, or None if they are whole.

    Compares them with the checksums taken when the version was pushed. Without any, parses the
    graph and reads every variable, whose checksums TensorFlow verifies.
    """
    if not version.provenance.checksums:
        return _find_unreadable(version.path)
    present = checksums(version.path)
    for name, expected in version.provenance.checksums.items():
        if name not in present:
            return f"{name} is missing"
        if present[name] != expected:
            return f"{name} is not the file that was pushed"
    return None


def _find_unreadable(folder: Path) -> str | None:
    """Returns what TensorFlow cannot read in a SavedModel, or None."""
    # Importing TensorFlow takes seconds, and listing versions does not need it.
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        saved_model = saved_model_pb2.SavedModel.FromString((folder / MODEL_FILE).read_bytes())
        if not saved_model.meta_graphs:
            return f"{MODEL_FILE} contains no graph"
        if (folder / "variables").is_dir():
            variables = tf.train.load_checkpoint(str(folder / "variables/variables"))
            for name in variables.get_variable_to_shape_map():
                variables.get_tensor(name)
    except (DecodeError, OSError) as error:
        return f"{MODEL_FILE} cannot be read ({error})"
    except (tf.errors.OpError, ValueError, RuntimeError, LookupError) as error:
        return f"its variables cannot be read ({str(error).splitlines()[0]})"
    return None


def checksums(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file of a SavedModel, by its path in the folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in MODEL_FILES
        for path in sorted(folder.glob(pattern))
        if path.is_file()
    }


def read_version(folder: Path) -> PushedVersion:
    """Returns a version with its recorded origin; warns if that cannot be read."""
    return PushedVersion(int(folder.name), folder, read_provenance(folder))


def read_provenance(folder: Path) -> Provenance:
    """Returns the recorded origin of a version; warns if it is unreadable."""
    path = folder / PROVENANCE_FILE
    try:
        if path.exists():
            return records.from_json(Provenance, path.read_bytes())
    except (OSError, ValueError) as error:
        log.warning("Cannot read %s, so the origin of %s is unknown: %s", path, folder, error)
    return Provenance()
