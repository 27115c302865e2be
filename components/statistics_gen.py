"""TFDV's statistics of the examples, plus facts about the images, which TFDV sees as bytes.

The stock StatisticsGen reads TFRecords in Python, one record after the other. Here Beam
distributes shards, and TensorFlow's own reader reads them.
"""

import dataclasses
import logging
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_data_validation as tfdv
from tfx import types
from tfx.components.statistics_gen.component import StatisticsGen as StockStatisticsGen
from tfx.components.statistics_gen.executor import DEFAULT_FILE_NAME
from tfx.dsl.components.base import base_beam_executor, executor_spec
from tfx.types import artifact_utils
from tfx_bsl.coders import example_coder

from components import image_facts
from contract import data_facts, example_files, features, image_set
from contract.data_facts import DataFacts

log = logging.getLogger("cifar.statistics_gen")

READ_BATCH = 1_000


class Executor(base_beam_executor.BaseBeamExecutor):
    """Computes TFDV's statistics and the facts about the images."""

    def Do(  # noqa: N802 - the name TFX calls
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `Split-<name>/FeatureStats.pb` and `data_facts.json`.

        Raises:
            FileNotFoundError: A split has no examples.
        """
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        statistics = artifact_utils.get_single_instance(output_dict["statistics"])
        statistics.split_names, statistics.span = examples.split_names, examples.span
        files = {
            split: example_files.find([f"{artifact_utils.get_split_uri([examples], split)}/*"])
            for split in artifact_utils.decode_split_names(examples.split_names)
        }
        schema_dir = artifact_utils.get_single_uri(input_dict["schema"])
        given = exec_properties.get("stats_options_json")
        options = tfdv.StatsOptions.from_json(given) if given else tfdv.StatsOptions()
        options.schema = tfdv.load_schema_text(
            posixpath.join(schema_dir, image_set.SCHEMA_FILE)
        )
        self._describe(files, options, statistics)
        class_names = image_set.read(schema_dir).class_names
        facts = dataclasses.replace(collect(files), class_names=class_names)
        data_facts.write(statistics.uri, facts)
        images = sum(one.examples for one in facts.splits.values())
        log.info("Examined %s images", f"{images:,}")

    def _describe(
        self,
        files: Mapping[str, Sequence[str]],
        options: tfdv.StatsOptions,
        statistics: types.Artifact,
    ) -> None:
        """Writes TFDV's statistics of each split in a Beam job."""
        with self._make_beam_pipeline() as pipeline:
            for split, paths in files.items():
                split_uri = artifact_utils.get_split_uri([statistics], split)
                _ = (
                    pipeline
                    | f"Shards[{split}]" >> beam.Create(paths, reshuffle=True)
                    | f"Read[{split}]" >> beam.FlatMap(read_record_batches)
                    | f"Describe[{split}]" >> tfdv.GenerateStatistics(options)
                    | f"Write[{split}]"
                    >> tfdv.WriteStatisticsToBinaryFile(f"{split_uri}/{DEFAULT_FILE_NAME}")
                )


class StatisticsGen(StockStatisticsGen):
    """Emits TFDV's statistics together with facts about the images."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)


def read_record_batches(path: str) -> Iterator[pa.RecordBatch]:
    """Yields the examples of a TFRecord file in the form that TFDV takes."""
    decoder = example_coder.ExamplesToRecordBatchDecoder()
    for serialized in example_files.read([path]).batch(READ_BATCH).as_numpy_iterator():
        yield decoder.DecodeBatch(serialized)


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
