"""The batches that a pipeline reads, found when a run starts."""

import dataclasses
from collections.abc import Mapping

from contract.warm_start import WarmStart
from data_sources.batch_files import Dataset


@dataclasses.dataclass(frozen=True)
class Batches:
    """The folder and the fingerprints of the batches.

    Attributes:
        eval_fingerprint: Of those that models are judged on; empty if unknown.
        spans: The spans they are in, as FROM:TO, or `all`; empty if unknown.
        start: The weights that training on them starts from; None if nobody has looked.
    """

    directory: str
    fingerprint: str
    eval_fingerprint: str = ""
    # SHA-256 by file name; empty if the files were not read
    checksums: Mapping[str, str] = dataclasses.field(default_factory=dict)
    spans: str = ""
    start: WarmStart | None = None

    def as_record(self) -> dict[str, str]:
        """Returns the fields for the record of a run, in addition to its settings."""
        return {"data_dir": self.directory, "data_fingerprint": self.fingerprint}


def batches_of(data: Dataset) -> Batches:
    """Returns the batches of a dataset, with their fingerprints."""
    return Batches(
        str(data.directory),
        data.fingerprint,
        data.eval_fingerprint,
        data.checksums,
        data.layout.spans,
    )
