"""The record of the data, which ExampleGen writes beside the examples for the report."""

import dataclasses
import posixpath

from contract import artifact_files, records

DATA_FILE = "data.json"  # in the artifact of the examples


@dataclasses.dataclass(frozen=True)
class ShardRecord:
    """One file of examples.

    Attributes:
        origin: Identifies what it was made from, and how.
        sha256: Its content.
    """

    origin: str
    sha256: str


@dataclasses.dataclass(frozen=True)
class DataRecord:
    """The origin of the examples.

    Attributes:
        name: The usual name of the data.
        skipped: How many unreadable pictures were skipped, by reason.
        shards: The files of examples, by their path below the folder of the record.
    """

    name: str = ""
    skipped: dict[str, int] = dataclasses.field(default_factory=dict)
    shards: dict[str, ShardRecord] = dataclasses.field(default_factory=dict)


def read(examples_dir: str) -> DataRecord:
    """Returns the record beside the examples; an empty one if they are older than records.

    Raises:
        ValueError: The record is damaged.
    """
    path = posixpath.join(examples_dir, DATA_FILE)
    if not artifact_files.exists(path):
        return DataRecord()
    with artifact_files.open_text(path) as file:
        return records.from_json(DataRecord, file.read())


def write(examples_dir: str, record: DataRecord) -> None:
    """Writes the record beside the examples."""
    with artifact_files.open_text(posixpath.join(examples_dir, DATA_FILE), "w") as file:
        file.write(records.to_json(record))
