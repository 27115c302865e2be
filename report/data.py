"""The data of a run: counts, samples, pixel statistics and anomalies."""

import dataclasses
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_metadata.proto.v0 import anomalies_pb2

from contract import data_gate_record, example_files, features
from contract.data_gate_record import Comparison
from contract.data_record import DataRecord
from contract.image_set import ImageSet
from report import pictures
from report.anomalies import describe_anomalies
from report.facts import DataFacts, PixelStatistics

SAMPLES_PER_CLASS = 8
SAMPLED_CLASSES = 40  # of more, a page shows the first
_PARSE_BATCH = 500
_ANOMALIES_FILE = "SchemaDiff.pb"  # what TFX's ExampleValidator writes for each split


@dataclasses.dataclass(frozen=True)
class Split:
    """Examples of one split, in the order of the batch files.

    Attributes:
        images: uint8, shape (n, height, width, 3).
        labels: int64, shape (n,).
        keys: `file:record` of each.
    """

    images: np.ndarray
    labels: np.ndarray
    keys: list[str]


@dataclasses.dataclass
class Summary:
    """Facts about a split, which need not fit into memory.

    Attributes:
        counts: Images of each class.
        first: The first few images of each class, by label.
        pixels: How often each value of 0 to 255 occurs in each channel, shape (3, 256).
    """

    counts: np.ndarray
    first: dict[int, list[np.ndarray]]
    pixels: np.ndarray


def read_batches(examples_dir: str, split: str, images: ImageSet) -> Iterator[Split]:
    """Yields the examples of a split in batches.

    Raises:
        FileNotFoundError: There are none.
    """
    files = example_files.find([f"{examples_dir}/Split-{split}/*"])
    spec = {
        features.IMAGE: tf.io.FixedLenFeature([], tf.string),
        features.LABEL: tf.io.FixedLenFeature([], tf.int64),
        features.KEY: tf.io.FixedLenFeature([], tf.string),
    }

    def parse(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        columns = tf.io.parse_example(batch, spec)
        pixels = tf.io.decode_raw(columns[features.IMAGE], tf.uint8)
        return pixels, columns[features.LABEL], columns[features.KEY]

    batches = example_files.read(files).batch(_PARSE_BATCH).map(parse).as_numpy_iterator()
    for pixels, labels, keys in batches:
        shaped = pixels.reshape(-1, *images.image_shape)
        yield Split(shaped, labels, [key.decode() for key in keys])


def pick_images(batches: Iterable[Split], indices: Collection[int]) -> dict[int, np.ndarray]:
    """Returns some of the images of a split: uint8, shape (height, width, 3), by index."""
    picked: dict[int, np.ndarray] = {}
    wanted, first = sorted(indices), 0
    for batch in batches:
        end = first + len(batch.labels)
        inside = wanted[bisect_left(wanted, first) : bisect_left(wanted, end)]
        picked |= {index: batch.images[index - first].copy() for index in inside}
        first = end
    return picked


def summarize(batches: Iterable[Split], images: ImageSet) -> Summary:
    """Returns the facts about a split."""
    summary = Summary(
        np.zeros(images.num_classes, np.int64), {}, np.zeros((features.CHANNELS, 256))
    )
    for batch in batches:
        summary.counts += np.bincount(batch.labels, minlength=images.num_classes)
        summary.pixels += pixel_counts(batch.images)
        for label in np.unique(batch.labels[batch.labels < SAMPLED_CLASSES]):
            first = summary.first.setdefault(int(label), [])
            missing = SAMPLES_PER_CLASS - len(first)
            first += [*batch.images[batch.labels == label][:missing]]
    return summary


def data_facts(
    summaries: Mapping[str, Summary], images: ImageSet, record: DataRecord, anomalies_dir: str
) -> DataFacts:
    """Returns counts, samples, pixel statistics and anomalies.

    Args:
        summaries: The facts about each split.
        images: The classes and the size.
        record: The origin of the data.
        anomalies_dir: ExampleValidator's artifact; empty if it did not run.
    """
    train = summaries[features.TRAIN_SPLIT]
    return DataFacts(
        counts={name: summary.counts.tolist() for name, summary in summaries.items()},
        samples=sample_strips(train, images.class_names),
        pixels=pixel_statistics(train.pixels),
        anomalies=read_anomalies(anomalies_dir, list(summaries)) if anomalies_dir else None,
        name=record.name,
        class_names=images.class_names,
        image_size=images.image_size,
        skipped=record.skipped,
        comparisons=read_comparisons(anomalies_dir) if anomalies_dir else (),
    )


def sample_strips(summary: Summary, class_names: Sequence[str]) -> dict[str, str]:
    """Returns the first few images of each class side by side, as data URIs by class name."""
    return {
        class_names[label]: pictures.data_uri(pictures.sheet(first, SAMPLES_PER_CLASS))
        for label, first in sorted(summary.first.items())
    }


def pixel_counts(images: np.ndarray) -> np.ndarray:
    """Returns how often each value occurs in each channel: shape (3, 256).

    Args:
        images: uint8, shape (n, height, width, 3).
    """
    # Pillow counts in C, NumPy would first make each byte eight.
    pixels = Image.fromarray(images.reshape(-1, images.shape[2], features.CHANNELS))
    return np.array(pixels.histogram(), np.float64).reshape(features.CHANNELS, 256)


def pixel_statistics(counts: np.ndarray) -> PixelStatistics:
    """Returns the share of each pixel value, with mean and deviation, per channel.

    Args:
        counts: As `pixel_counts` returns them.
    """
    fractions = counts / counts.sum(axis=1, keepdims=True)
    values = np.arange(256)
    mean = fractions @ values
    std = np.sqrt(fractions @ values**2 - mean**2)
    return PixelStatistics(mean.tolist(), std.tolist(), fractions.round(6).tolist())


def read_comparisons(anomalies_dir: str) -> list[Comparison]:
    """Returns the comparisons of the data gate, each with its largest distance first.

    Distances are ordered by their share of the limit.
    """
    found = data_gate_record.read(anomalies_dir)
    return [
        dataclasses.replace(
            one,
            distances=sorted(
                one.distances, key=lambda d: d.value / (d.limit or 1), reverse=True
            ),
        )
        for one in (found.comparisons if found else ())
    ]


def read_anomalies(anomalies_dir: str, splits: Sequence[str]) -> list[str]:
    """Returns a line for each anomaly that ExampleValidator found."""
    findings = []
    for split in splits:
        path = f"{anomalies_dir}/Split-{split}/{_ANOMALIES_FILE}"
        if not tf.io.gfile.exists(path):
            continue
        with tf.io.gfile.GFile(path, "rb") as file:
            anomalies = anomalies_pb2.Anomalies.FromString(file.read())
        findings += describe_anomalies(split, anomalies)
    return findings
