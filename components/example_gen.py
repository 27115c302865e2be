"""CIFAR batches → examples: one TFRecord shard for each batch file.

The stock ExampleGens pass every record through Beam one by one: serialise, reshuffle,
checksum in Python, gzip. A batch file is small enough to decode at once, so here Beam
spreads files, and each file is decoded by NumPy and written by TensorFlow's own writer.
"""

# TFX reads annotations at run time, so this module does without
# `from __future__ import annotations`.
import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import apache_beam as beam
import tensorflow as tf
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, component_spec, standard_artifacts

from contract import events, features
from data_sources import cifar_format, example_format

log = logging.getLogger("cifar.example_gen")

CHECKSUMS_PROPERTY = "checksums"  # of the examples: JSON, SHA-256 by batch file


class CifarExampleGenSpec(component_spec.ComponentSpec):
    """Parameters and output of CifarExampleGen."""

    INPUTS: dict[str, Any] = {}
    PARAMETERS = {
        "input_base": component_spec.ExecutionParameter(type=str),
        "splits": component_spec.ExecutionParameter(type=str),
        "record_format": component_spec.ExecutionParameter(type=str),
        "data_fingerprint": component_spec.ExecutionParameter(type=str),
    }
    OUTPUTS = {"examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)}


class Executor(base_beam_executor.BaseBeamExecutor):
    """Writes one TFRecord shard for each batch file of each split."""

    def Do(  # noqa: N802 - the name TFX calls
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Reads `input_base`, writes `Split-<name>/data_tfrecord-0000i-of-0000n`.

        Raises:
            FileNotFoundError: A batch file is missing; all missing ones are named.
            ValueError: A batch is no whole number of records or holds a wrong label.
        """
        started = time.monotonic()
        splits: dict[str, list[str]] = json.loads(exec_properties["splits"])
        record_format = cifar_format.FORMATS[exec_properties["record_format"]]
        check_batches_exist(exec_properties["input_base"], splits)
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        examples.split_names = artifact_utils.encode_split_names(list(splits))
        shards = [
            (
                f"{exec_properties['input_base'].rstrip('/')}/{name}",
                f"{artifact_utils.get_split_uri([examples], split)}"
                f"/data_tfrecord-{index:05d}-of-{len(names):05d}",
                record_format,
            )
            for split, names in splits.items()
            for index, name in enumerate(names)
        ]
        events.begin(len(shards), "batches")
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Files" >> beam.Create(shards, reshuffle=True)
                | "WriteShards" >> beam.MapTuple(write_shard)
            )
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
        checksums = checksums_of([source for source, _, _ in shards])
        examples.set_string_custom_property(CHECKSUMS_PROPERTY, json.dumps(checksums))
        log.info(
            "Wrote %d shards of %s examples in %.1f s",
            len(shards),
            " and ".join(splits),
            time.monotonic() - started,
        )


class CifarExampleGen(base_beam_component.BaseBeamComponent):
    """Turns CIFAR batch files into `image`, `label` and `key` examples.

    The splits are given as files, so nothing is hashed or drawn anew, and shards come
    out byte-identical for identical batches.
    """

    SPEC_CLASS = CifarExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        input_base: str,
        data_fingerprint: str,
        splits: Mapping[str, Sequence[str]] = {
            features.TRAIN_SPLIT: cifar_format.TRAIN_FILES,
            features.EVAL_SPLIT: cifar_format.EVAL_FILES,
        },
        record_format: cifar_format.RecordFormat = cifar_format.CIFAR10,
    ) -> None:
        """Makes the node.

        Args:
            input_base: The folder of the batch files.
            data_fingerprint: What tells these batches from others: part of the cache key.
            splits: The batch files of each split, in order.
            record_format: The layout of one record.
        """
        super().__init__(
            spec=CifarExampleGenSpec(
                input_base=input_base,
                splits=json.dumps({name: list(files) for name, files in splits.items()}),
                record_format=record_format.name,
                data_fingerprint=data_fingerprint,
                examples=types.Channel(type=standard_artifacts.Examples),
            )
        )


def check_batches_exist(input_base: str, splits: Mapping[str, Sequence[str]]) -> None:
    """Raises FileNotFoundError that names every batch file missing from `input_base`."""
    names = [name for files in splits.values() for name in files]
    missing = [name for name in names if not fileio.exists(f"{input_base}/{name}")]
    if missing:
        raise FileNotFoundError(
            f"{input_base} lacks {', '.join(missing)}; expected {', '.join(names)}. "
            "`cifar data fetch` gets them."
        )


def checksums_of(paths: Sequence[str]) -> dict[str, str]:
    """Returns the SHA-256 of each file by its name: where lineage ends."""
    checksums = {}
    for path in paths:
        with fileio.open(path, "rb") as file:
            checksums[PurePosixPath(path).name] = hashlib.sha256(file.read()).hexdigest()
    return checksums


def write_shard(source: str, target: str, record_format: cifar_format.RecordFormat) -> int:
    """Writes one batch file as a TFRecord shard and returns its number of examples.

    Raises:
        ValueError: The batch is no whole number of records or holds a wrong label.
    """
    with fileio.open(source, "rb") as file:
        content = file.read()
    examples = example_format.encode_examples(
        content, PurePosixPath(source).name, record_format
    )
    fileio.makedirs(target.rsplit("/", 1)[0])
    with tf.io.TFRecordWriter(target) as writer:
        for example in examples:
            writer.write(example)
    events.advance(1)
    return len(examples)
