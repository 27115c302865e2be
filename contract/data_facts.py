"""What StatisticsGen counts of the images themselves, which TFDV sees as bytes alone."""

import dataclasses
import posixpath
from collections.abc import Mapping, Sequence

from contract import records

DATA_FACTS_FILE = "data_facts.json"  # in the statistics artifact

IMAGE_FACTS = ("brightness", "contrast", "red", "green", "blue")  # of an image, 0 to 255
BINS = 16  # of their histograms, each as wide


@dataclasses.dataclass(frozen=True)
class SplitFacts:
    """The images of one split.

    Attributes:
        examples: How many there are.
        labels: How many of each label, from 0.
        histograms: How many images lie in each bin, by the name of an image fact: the mean of
            all values, their standard deviation, and the mean of each channel.
        constant: Images of a single colour.
        duplicates: Images that are byte for byte like an earlier one of the split.
    """

    examples: int
    labels: Sequence[int]
    histograms: Mapping[str, Sequence[int]]
    constant: int
    duplicates: int


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """The images of all splits.

    Attributes:
        leaked: Images of eval that are byte for byte in train, too.
    """

    splits: Mapping[str, SplitFacts]
    leaked: int


def read(statistics_dir: str) -> DataFacts:
    """Returns the facts in a statistics artifact.

    Raises:
        ValueError: The file is damaged.
    """
    import tensorflow as tf  # seconds, which whoever only names the record does without

    with tf.io.gfile.GFile(posixpath.join(statistics_dir, DATA_FACTS_FILE)) as file:
        return records.from_json(DataFacts, file.read())


def write(statistics_dir: str, facts: DataFacts) -> None:
    """Writes the facts into a statistics artifact."""
    import tensorflow as tf

    with tf.io.gfile.GFile(posixpath.join(statistics_dir, DATA_FACTS_FILE), "w") as file:
        file.write(records.to_json(facts))
