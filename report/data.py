"""The data of a run: how many of each class, what they look like, what validation found."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_metadata.proto.v0 import anomalies_pb2

from contract import example_files, features
from contract.data_record import DataRecord
from contract.image_set import ImageSet
from report import pictures
from report.anomalies import describe_anomalies
from report.facts import DataFacts, PixelStatistics

SAMPLES_PER_CLASS = 8
SAMPLED_CLASSES = 40  # of more, a page shows the first
_PARSE_BATCH = 1_000
_ANOMALIES_FILE = "SchemaDiff.pb"  # what TFX's ExampleValidator writes for each split


@dataclasses.dataclass(frozen=True)
class Split:
    """The examples of one split, in the order of the batch files.

    Attributes:
        images: uint8, shape (n, height, width, 3).
        labels: int64, shape (n,).
        keys: `file:record` of each.
    """

    images: np.ndarray
    labels: np.ndarray
    keys: list[str]


def read_split(examples_dir: str, split: str, images: ImageSet) -> Split:
    """Returns every example of a split.

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
    pixels, labels, keys = (np.concatenate(column) for column in zip(*batches, strict=True))
    return Split(
        pixels.reshape(-1, *images.image_shape), labels, [key.decode() for key in keys]
    )


def data_facts(
    splits: Mapping[str, Split], images: ImageSet, record: DataRecord, anomalies_dir: str
) -> DataFacts:
    """Returns counts, samples, pixel statistics and anomalies.

    Args:
        splits: The examples by split.
        images: What the images are.
        record: Where they came from.
        anomalies_dir: ExampleValidator's artifact; empty if the run did not come that far.
    """
    train = splits[features.TRAIN_SPLIT]
    return DataFacts(
        counts={
            name: np.bincount(split.labels, minlength=images.num_classes).tolist()
            for name, split in splits.items()
        },
        samples=sample_strips(train, images.class_names),
        pixels=pixel_statistics(train.images),
        anomalies=read_anomalies(anomalies_dir, list(splits)) if anomalies_dir else None,
        name=record.name,
        class_names=images.class_names,
        image_size=images.image_size,
        skipped=record.skipped,
    )


def sample_strips(split: Split, class_names: Sequence[str]) -> dict[str, str]:
    """Returns the first few images of each class side by side, as data URIs by class name."""
    strips = {}
    for label, name in enumerate(class_names[:SAMPLED_CLASSES]):
        first = split.images[split.labels == label][:SAMPLES_PER_CLASS]
        if len(first):
            strips[name] = pictures.data_uri(pictures.sheet(first, SAMPLES_PER_CLASS))
    return strips


def pixel_statistics(images: np.ndarray) -> PixelStatistics:
    """Returns how often each pixel value occurs, with mean and deviation, per channel.

    Args:
        images: uint8, shape (n, height, width, 3).
    """
    # Pillow counts in C, NumPy would first make each byte eight.
    pixels = Image.fromarray(images.reshape(-1, images.shape[2], features.CHANNELS))
    counts = np.array(pixels.histogram(), np.float64).reshape(features.CHANNELS, 256)
    fractions = counts / counts.sum(axis=1, keepdims=True)
    values = np.arange(256)
    mean = fractions @ values
    std = np.sqrt(fractions @ values**2 - mean**2)
    return PixelStatistics(mean.tolist(), std.tolist(), fractions.round(6).tolist())


def read_anomalies(anomalies_dir: str, splits: Sequence[str]) -> list[str]:
    """Returns what ExampleValidator found, one line each; none if the data fit the schema."""
    findings = []
    for split in splits:
        path = f"{anomalies_dir}/Split-{split}/{_ANOMALIES_FILE}"
        if not tf.io.gfile.exists(path):
            continue
        with tf.io.gfile.GFile(path, "rb") as file:
            anomalies = anomalies_pb2.Anomalies.FromString(file.read())
        findings += describe_anomalies(split, anomalies)
    return findings
