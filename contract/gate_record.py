"""The Evaluator's measurements of a candidate, beside its blessing, for the Pusher."""

import dataclasses
import posixpath

from contract import artifact_files, records
from contract.files import GATE_FILE


@dataclasses.dataclass(frozen=True)
class GateRecord:
    """The candidate's accuracy on eval."""

    accuracy: float
    eval_examples: int


def read(directory: str) -> GateRecord:
    """Returns the record in a blessing's folder.

    Raises:
        ValueError: The file is damaged.
    """
    with artifact_files.open_text(posixpath.join(directory, GATE_FILE)) as file:
        return records.from_json(GateRecord, file.read())


def write(directory: str, record: GateRecord) -> None:
    """Writes the record into a blessing's folder."""
    with artifact_files.open_text(posixpath.join(directory, GATE_FILE), "w") as file:
        file.write(records.to_json(record))
