"""The batches that a pipeline reads: found when a run starts, and handed from there on."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Batches:
    """Where the batches are, and what tells them from others.

    Attributes:
        eval_fingerprint: Of those that models are judged on; empty where nobody looked.
    """

    directory: str
    fingerprint: str
    eval_fingerprint: str = ""
    # SHA-256 by file name; empty where nobody has read the files
    checksums: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def as_record(self) -> dict[str, str]:
        """Returns what the record of a run says of them, beside its settings."""
        return {"data_dir": self.directory, "data_fingerprint": self.fingerprint}
