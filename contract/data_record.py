"""What is known of the data beside the examples: ExampleGen writes it, the report reads it."""

import dataclasses
import posixpath

from contract import records

DATA_FILE = "data.json"  # in the artifact of the examples


@dataclasses.dataclass(frozen=True)
class DataRecord:
    """Where the examples came from.

    Attributes:
        name: What people call the data.
        skipped: How many pictures could not be read and were left out, by the reason.
    """

    name: str = ""
    skipped: dict[str, int] = dataclasses.field(default_factory=dict)


def read(examples_dir: str) -> DataRecord:
    """Returns what is kept beside the examples; of older ones nothing is known.

    Raises:
        ValueError: The record is damaged.
    """
    import tensorflow as tf  # seconds, which whoever only names the record does without

    path = posixpath.join(examples_dir, DATA_FILE)
    if not tf.io.gfile.exists(path):
        return DataRecord()
    with tf.io.gfile.GFile(path) as file:
        return records.from_json(DataRecord, file.read())


def write(examples_dir: str, record: DataRecord) -> None:
    """Writes the record beside the examples."""
    import tensorflow as tf

    with tf.io.gfile.GFile(posixpath.join(examples_dir, DATA_FILE), "w") as file:
        file.write(records.to_json(record))
