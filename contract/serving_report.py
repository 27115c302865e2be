"""The findings of ServingCheck, which it writes beside its blessing, for reports."""

import dataclasses
import posixpath

from contract import artifact_files, records
from contract.files import SERVING_CHECK_FILE

BLESSED = "blessed"  # how the verdict on a good candidate begins


@dataclasses.dataclass(frozen=True)
class ServingReport:
    """The verdict in words, and the measurements unless the candidate was rejected.

    Attributes:
        examples: How many were replayed over each protocol.
        difference: The largest between a served probability and the Trainer's.
        latency_milliseconds: The median for one image over gRPC.
        slowest_milliseconds: The slowest of these requests.
    """

    verdict: str
    examples: int | None = None
    difference: float | None = None
    latency_milliseconds: float | None = None
    slowest_milliseconds: float | None = None

    @property
    def is_blessed(self) -> bool:
        """Returns whether the candidate may be pushed."""
        return self.verdict.startswith(BLESSED)


def read(directory: str) -> ServingReport:
    """Returns the report in a blessing's folder.

    Raises:
        ValueError: The file is damaged.
    """
    with artifact_files.open_text(posixpath.join(directory, SERVING_CHECK_FILE)) as file:
        return records.from_json(ServingReport, file.read())


def write(directory: str, report: ServingReport) -> None:
    """Writes the report into a blessing's folder."""
    with artifact_files.open_text(posixpath.join(directory, SERVING_CHECK_FILE), "w") as file:
        file.write(records.to_json(report))
