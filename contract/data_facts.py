"""Facts about the images, which StatisticsGen counts because TFDV only sees bytes."""

import dataclasses
import posixpath
from collections.abc import Mapping, Sequence

from contract import artifact_files, records

DATA_FACTS_FILE = "data_facts.json"  # in the statistics artifact

# Of each image, 0 to 255; what is above counts as 255.
IMAGE_FACTS = ("brightness", "contrast", "sharpness", "red", "green", "blue")
BINS = 16  # in their histograms
BIN_WIDTH = 256 / BINS
EDGES = tuple(BIN_WIDTH * number for number in range(BINS + 1))  # of the bins


@dataclasses.dataclass(frozen=True)
class SplitFacts:
    """Facts about the images of one split.

    Attributes:
        examples: The number of examples.
        labels: The number of examples with each label, from 0.
        histograms: The number of images in each bin, by image fact: the mean of all values,
            their standard deviation, that of the Laplacian, and the mean of each channel.
        constant: The number of images of a single colour.
        duplicates: The number of images identical to an earlier one in the split.
    """

    examples: int
    labels: Sequence[int]
    histograms: Mapping[str, Sequence[int]]
    constant: int
    duplicates: int


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """Facts about the images of all splits.

    Attributes:
        leaked: The number of different images that are in both train and eval.
        class_names: In label order; empty if unknown.
    """

    splits: Mapping[str, SplitFacts]
    leaked: int
    class_names: Sequence[str] = ()


def read(statistics_dir: str) -> DataFacts:
    """Returns the facts in a statistics artifact.

    Raises:
        ValueError: The file is damaged.
    """
    with artifact_files.open_text(posixpath.join(statistics_dir, DATA_FACTS_FILE)) as file:
        return records.from_json(DataFacts, file.read())


def write(statistics_dir: str, facts: DataFacts) -> None:
    """Writes the facts into a statistics artifact."""
    with artifact_files.open_text(posixpath.join(statistics_dir, DATA_FACTS_FILE), "w") as file:
        file.write(records.to_json(facts))
