"""The distances that the data gate measured, with both distributions, for reports.

ExampleValidator writes it beside the anomalies. TFX deletes the outputs of a failed node, so a
run that it stops keeps the record in its own folder.
"""

import dataclasses
import posixpath
from collections.abc import Sequence
from typing import Final, Literal

from contract import artifact_files, records
from contract.files import DATA_GATE_FILE

Measure = Literal["L-infinity", "Jensen-Shannon divergence"]
L_INFINITY: Final = "L-infinity"  # of shares: the largest difference
JENSEN_SHANNON: Final = "Jensen-Shannon divergence"


@dataclasses.dataclass(frozen=True)
class Distance:
    """How far the distribution of a feature is from another one.

    Attributes:
        feature: `label`, or one of `data_facts.IMAGE_FACTS`.
        measure: What the distance is, 0 to 1.
        limit: The largest distance allowed.
        setting: The setting with this limit.
        names: The classes, in the order of `current`; empty for image facts.
        edges: The edges of the bins, one more than there are bins; empty for labels.
        current: The share of images in each class or bin.
        other: The same of the data they are compared with.
    """

    feature: str
    measure: Measure
    value: float
    limit: float
    setting: str
    names: Sequence[str]
    edges: Sequence[float]
    current: Sequence[float]
    other: Sequence[float]

    @property
    def is_above(self) -> bool:
        """Returns whether the distance exceeds its limit."""
        return self.value > self.limit


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two sets of images, and the distances between them.

    Attributes:
        kind: `skew` (train and eval), `drift` (train and that of the last pushed version), or
            `served` (requests and train).
        current: What is compared, such as `train`.
        other: What it is compared with, such as `train of version 1795386836`.
        current_images: How many images there are.
        other_images: How many there are in the other.
    """

    kind: Literal["skew", "drift", "served"]
    current: str
    other: str
    current_images: int
    other_images: int
    distances: Sequence[Distance]


@dataclasses.dataclass(frozen=True)
class DataGateRecord:
    """What the data gate found.

    Attributes:
        comparisons: None is made of fewer than 100 images, which may differ by chance.
        faults: Each limit that the data exceed, in words.
    """

    comparisons: Sequence[Comparison]
    faults: Sequence[str]


class UnfitDataError(ValueError):
    """Data that exceed a limit, with everything that the data gate found."""

    def __init__(self, message: str, found: DataGateRecord) -> None:
        """Keeps the findings beside the message."""
        super().__init__(message)
        self.found = found


def read(anomalies_dir: str) -> DataGateRecord | None:
    """Returns the record in an anomalies artifact or a run's folder; None if there is none.

    Raises:
        ValueError: The record is damaged.
    """
    path = posixpath.join(anomalies_dir, DATA_GATE_FILE)
    if not artifact_files.exists(path):
        return None
    with artifact_files.open_text(path) as file:
        return records.from_json(DataGateRecord, file.read())


def write(anomalies_dir: str, record: DataGateRecord) -> None:
    """Writes the record into an anomalies artifact or a run's folder."""
    with artifact_files.open_text(posixpath.join(anomalies_dir, DATA_GATE_FILE), "w") as file:
        file.write(records.to_json(record))
