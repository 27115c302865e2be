"""The batches that a pipeline reads, found when a run starts."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Batches:
    """The folder and the fingerprints of the batches.

    Attributes:
        eval_fingerprint: Of those that models are judged on; empty if unknown.
    """

    directory: str
    fingerprint: str
    eval_fingerprint: str = ""
    # SHA-256 by file name; empty if the files were not read
    checksums: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def as_record(self) -> dict[str, str]:
        """Returns the fields for the record of a run, in addition to its settings."""
        return {"data_dir": self.directory, "data_fingerprint": self.fingerprint}
