"""The stock StatisticsGen, plus facts about the images, which it only sees as bytes."""

import dataclasses
import hashlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tfx import types
from tfx.components.statistics_gen import executor as stock_executor
from tfx.components.statistics_gen.component import StatisticsGen as StockStatisticsGen
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils

from contract import data_facts, example_files, features, image_set
from contract.data_facts import BINS, IMAGE_FACTS, DataFacts, SplitFacts

log = logging.getLogger("cifar.statistics_gen")

READ_BATCH = 1_000
DIGEST_BYTES = 12  # two of a million images collide with a probability of 1 in 10^17


class Executor(stock_executor.Executor):
    """Computes TFDV's statistics, then the facts about the images."""

    def Do(  # noqa: N802 - the name TFX calls
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the statistics of each split, and `data_facts.json`."""
        super().Do(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        files = {
            split: sorted(
                tf.io.gfile.glob(f"{artifact_utils.get_split_uri([examples], split)}/*")
            )
            for split in artifact_utils.decode_split_names(examples.split_names)
        }
        schema_dir = artifact_utils.get_single_uri(input_dict["schema"])
        class_names = image_set.read(schema_dir).class_names
        facts = dataclasses.replace(collect(files), class_names=class_names)
        data_facts.write(artifact_utils.get_single_uri(output_dict["statistics"]), facts)
        log.info("Examined %d images", sum(one.examples for one in facts.splits.values()))


class StatisticsGen(StockStatisticsGen):
    """Emits TFDV's statistics together with facts about the images."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)


def collect(files: dict[str, list[str]]) -> DataFacts:
    """Returns the facts about the examples in TFRecord files, by split."""
    splits, seen = {}, {}
    for split, paths in files.items():
        splits[split], seen[split] = split_facts(paths)
    both = [seen.get(split, set()) for split in (features.TRAIN_SPLIT, features.EVAL_SPLIT)]
    return DataFacts(splits, leaked=len(both[0] & both[1]))


def split_facts(files: Sequence[str]) -> tuple[SplitFacts, set[bytes]]:
    """Returns the facts about a split, and the digest of each of its images.

    It ignores missing images and negative labels, which ExampleValidator reports.
    """
    digests: set[bytes] = set()
    examples = constant = images = 0
    labels = np.zeros(0, np.int64)
    histograms = np.zeros((len(IMAGE_FACTS), BINS), np.int64)
    for batch_images, batch_labels in _read(files):
        examples += len(batch_labels)
        counted = np.bincount(batch_labels[batch_labels >= 0], minlength=len(labels))
        counted[: len(labels)] += labels
        labels = counted
        whole = [image for image in batch_images if image and len(image) % 3 == 0]
        images += len(whole)
        digests.update(
            hashlib.blake2b(image, digest_size=DIGEST_BYTES).digest() for image in whole
        )
        for pixels in _of_equal_size(whole):
            constant += int((pixels == pixels[:, :1]).all(axis=(1, 2)).sum())
            histograms += np.stack(
                [np.histogram(values, BINS, (0, 256))[0] for values in image_facts(pixels)]
            )
    found = SplitFacts(
        examples=examples,
        labels=labels.tolist(),
        histograms=dict(zip(IMAGE_FACTS, histograms.tolist(), strict=True)),
        constant=constant,
        duplicates=images - len(digests),
    )
    return found, digests


def image_facts(pixels: np.ndarray) -> Sequence[np.ndarray]:
    """Returns the values of IMAGE_FACTS, in that order, float32, shape (n,) each.

    Args:
        pixels: uint8, shape (n, height × width, 3).
    """
    values = pixels.astype(np.float32)
    channels = values.mean(axis=1)
    brightness = channels.mean(axis=1)
    squares = np.einsum("nij,nij->n", values, values) / (pixels.shape[1] * pixels.shape[2])
    contrast = np.sqrt(np.maximum(squares - brightness**2, 0))
    return brightness, contrast, *channels.T


def _read(files: Sequence[str]) -> Iterator[tuple[list[bytes], np.ndarray]]:
    """Yields images and labels in batches; b"" and -1 stand for missing ones."""
    if not files:
        return
    spec = {
        features.IMAGE: tf.io.FixedLenFeature([], tf.string, default_value=""),
        features.LABEL: tf.io.FixedLenFeature([], tf.int64, default_value=-1),
    }
    parsed = (
        example_files.read(files)
        .batch(READ_BATCH)
        .map(lambda serialized: tf.io.parse_example(serialized, spec))
    )
    for columns in parsed.as_numpy_iterator():
        yield columns[features.IMAGE].tolist(), columns[features.LABEL]


def _of_equal_size(images: Sequence[bytes]) -> Iterator[np.ndarray]:
    """Yields images of one size at a time, uint8, shape (n, height × width, 3)."""
    by_size: dict[int, list[bytes]] = {}
    for image in images:
        by_size.setdefault(len(image), []).append(image)
    for size, alike in by_size.items():
        yield np.frombuffer(b"".join(alike), np.uint8).reshape(-1, size // 3, 3)
