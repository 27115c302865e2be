"""The record of a folder of predictions, in its `batch.json`."""

import dataclasses
from pathlib import Path

from contract import records, writing

RECORD_FILE = "batch.json"


@dataclasses.dataclass(frozen=True)
class BatchRecord:
    """What predicted what.

    Attributes:
        model: The folder of the model that predicted.
        input: What was predicted.
        input_digest: Digest of the names, sizes and times of its files.
        format_name: The format of the predictions.
        status: "running" or "done".
        images: How many images have a prediction.
        failed: How many images have none.
        seconds: The duration of the last call.
    """

    model: str
    input: str
    input_digest: str
    format_name: str
    status: str = "running"
    images: int = 0
    failed: int = 0
    seconds: float = 0.0


def read(folder: Path) -> BatchRecord | None:
    """Returns the record of a folder of predictions; None if it has none.

    Raises:
        ValueError: The record is damaged.
    """
    file = folder / RECORD_FILE
    return records.from_json(BatchRecord, file.read_bytes()) if file.exists() else None


def write(folder: Path, record: BatchRecord) -> None:
    """Writes the record into a folder of predictions."""
    writing.write_whole(folder / RECORD_FILE, records.to_json(record))
