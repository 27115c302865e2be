"""The stock StatisticsGen, plus facts about the images, which it only sees as bytes."""

import dataclasses
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

from components import image_facts
from contract import data_facts, example_files, features, image_set
from contract.data_facts import DataFacts

log = logging.getLogger("cifar.statistics_gen")

READ_BATCH = 1_000


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
        images = sum(one.examples for one in facts.splits.values())
        log.info("Examined %s images", f"{images:,}")


class StatisticsGen(StockStatisticsGen):
    """Emits TFDV's statistics together with facts about the images."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)


def collect(files: dict[str, list[str]]) -> DataFacts:
    """Returns the facts about the examples in TFRecord files, by split.

    Missing images and labels are ignored, which ExampleValidator reports.
    """
    counters = {split: image_facts.Counter() for split in files}
    for split, paths in files.items():
        for images, labels in _read(paths):
            counters[split].add(images, labels)
    seen = {split: counter.digests for split, counter in counters.items()}
    both = [seen.get(split, set()) for split in (features.TRAIN_SPLIT, features.EVAL_SPLIT)]
    facts = {split: counter.facts() for split, counter in counters.items()}
    return DataFacts(facts, leaked=len(both[0] & both[1]))


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
        .prefetch(2)
    )
    for columns in parsed.as_numpy_iterator():
        yield columns[features.IMAGE].tolist(), columns[features.LABEL]
