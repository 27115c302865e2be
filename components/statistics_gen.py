"""TFDV's statistics of the examples, plus facts about the images, which TFDV sees as bytes.

The stock StatisticsGen reads TFRecords in Python, one record after the other, in a Beam graph
of dozens of steps for each split. Here Beam distributes shards, TensorFlow's own reader reads
them, and TFDV's generators of statistics get batches of a thousand examples.
"""

import dataclasses
import logging
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2
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
        schema = tfdv.load_schema_text(posixpath.join(schema_dir, image_set.SCHEMA_FILE))
        uris = {split: artifact_utils.get_split_uri([statistics], split) for split in files}
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Shards" >> beam.Create(shards_of(files), reshuffle=True)
                | "Describe" >> beam.CombinePerKey(Describe(schema))
                | "Write" >> beam.Map(write, uris)
            )
        class_names = image_set.read(schema_dir).class_names
        facts = dataclasses.replace(collect(files), class_names=class_names)
        data_facts.write(statistics.uri, facts)
        images = sum(one.examples for one in facts.splits.values())
        log.info("Examined %s images", f"{images:,}")


class StatisticsGen(StockStatisticsGen):
    """Emits TFDV's statistics together with facts about the images."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, examples: types.BaseChannel, schema: types.BaseChannel) -> None:
        """Makes the node, which unlike the stock one has no options."""
        super().__init__(examples=examples, schema=schema)


class Describe(beam.CombineFn):
    """Computes TFDV's statistics of the examples in TFRecord files."""

    def __init__(self, schema: schema_pb2.Schema) -> None:
        """Takes the schema of the examples."""
        options = tfdv.StatsOptions(schema=schema)
        self._generators = stats_impl.get_generators(options, in_memory=True)

    def setup(self) -> None:
        for generator in self._generators:
            generator.setup()

    def create_accumulator(self) -> list[Any]:
        return [generator.create_accumulator() for generator in self._generators]

    def add_input(self, sums: list[Any], path: str) -> list[Any]:
        for batch in read_record_batches(path):
            sums = [
                generator.add_input(one, batch)
                for generator, one in zip(self._generators, sums, strict=True)
            ]
        return sums

    def merge_accumulators(self, many: Iterable[list[Any]]) -> list[Any]:
        return [
            generator.merge_accumulators(column)
            for generator, column in zip(self._generators, zip(*many, strict=True), strict=True)
        ]

    def extract_output(self, sums: list[Any]) -> statistics_pb2.DatasetFeatureStatisticsList:
        return stats_impl.extract_statistics_output(sums, self._generators)


def shards_of(files: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Returns split and path of each file."""
    return [(split, path) for split, paths in files.items() for path in paths]


def write(
    described: tuple[str, statistics_pb2.DatasetFeatureStatisticsList], uris: dict[str, str]
) -> None:
    """Writes the statistics of a split, given the folder of each split."""
    split, statistics = described
    tf.io.gfile.makedirs(uris[split])
    with tf.io.gfile.GFile(f"{uris[split]}/{DEFAULT_FILE_NAME}", "wb") as file:
        file.write(statistics.SerializeToString())


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
