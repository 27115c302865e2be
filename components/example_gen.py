"""Converts batches to examples, at least five TFRecord shards per split, and writes the schema.

The stock ExampleGens pass every record through Beam one by one: serialize, reshuffle,
checksum in Python, gzip. Here Beam distributes shards. NumPy decodes each of them, a few
megabytes at a time, and TensorFlow's own writer writes it.

The shards of a split, sorted by name, contain its records in the order of the batch files.
Their number depends only on the batch files, so every runner writes the same bytes.

An engine may run a shard twice, in sequence or in parallel, and may continue the slower attempt
after the job has ended. So each attempt writes its own file in `.partial`, which gets the
shard's name once it is complete. `.partial` is deleted at the end of the job, so that a late
attempt cannot write.

Where data arrive over time, most shards are those of an earlier run, which are linked
(shards.py).
"""

# TFX reads annotations at run time, so this module does without
# `from __future__ import annotations`.
import collections
import dataclasses
import json
import logging
import math
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import tensorflow as tf
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, component_spec, standard_artifacts

from components.shards import KnownShards, Shard
from contract import data_record, events, example_files, image_set
from data_sources import batch_files, batch_spans, cifar_format, example_format, layouts
from data_sources.options import DataOptions

log = logging.getLogger("cifar.example_gen")

# A TFRecord file cannot be split, so this many workers can share the Evaluator's work, as many
# as write CIFAR-10's training batches.
MIN_SHARDS = 5  # per split
PARTIAL_DIR = ".partial"  # beside the splits; for incomplete shards

CHECKSUMS_PROPERTY = "checksums"  # of the examples: JSON, SHA-256 by batch file


class CifarExampleGenSpec(component_spec.ComponentSpec):
    """Parameters and outputs of CifarExampleGen."""

    INPUTS: dict[str, Any] = {}
    PARAMETERS = {
        "input_base": component_spec.ExecutionParameter(type=str),
        "data_fingerprint": component_spec.ExecutionParameter(type=str),
        "data": component_spec.ExecutionParameter(type=str),
    }
    OUTPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
    }


class Executor(base_beam_executor.BaseBeamExecutor):
    """Writes the TFRecord shards of each split."""

    def Do(  # noqa: N802 - the name TFX calls
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Reads `input_base`; writes `Split-<name>/data_tfrecord-0000i-of-0000n`, the schema.

        Raises:
            FileNotFoundError: A batch file is missing; all missing ones are named.
            ValueError: A batch has an incomplete record or a wrong label.
            RuntimeError: A shard lacks examples, or an engine reports the errors above.
        """
        started = time.monotonic()
        input_base = exec_properties["input_base"].rstrip("/")
        data = json.loads(exec_properties["data"])
        options = DataOptions(**data["options"])
        layout = batch_spans.find_layout(Path(input_base), options.labels, options.spans)
        schema = artifact_utils.get_single_instance(output_dict["schema"])
        image_set.write(schema.uri, layout.image_set)
        schema.set_string_custom_property(
            image_set.DATA_FINGERPRINT, exec_properties["data_fingerprint"]
        )
        schema.set_string_custom_property(image_set.EVAL_FINGERPRINT, data["eval_fingerprint"])
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        examples.split_names = artifact_utils.encode_split_names(list(layout.splits))
        shards = []
        for split, names in layout.splits.items():
            split_dir = artifact_utils.get_split_uri([examples], split)
            fileio.makedirs(split_dir)
            shards += plan_shards(
                input_base, names, split_dir, layout.record_format, layout.has_keys
            )
        known = KnownShards(
            examples.uri,
            batch_checksums(input_base, layout, data["checksums"]),
            exec_properties.get("code_version", ""),
        )
        new = [shard for shard in shards if not known.link(shard)]
        self._write(new, f"{examples.uri}/{PARTIAL_DIR}")
        check_counts(shards)
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
        record = dataclasses.replace(layout.record, shards=known.record(shards))
        data_record.write(examples.uri, record)
        examples.set_string_custom_property(CHECKSUMS_PROPERTY, json.dumps(data["checksums"]))
        linked = len(shards) - len(new)
        log.info(
            "Wrote %d shards of %s examples in %.1f s%s",
            len(new),
            " and ".join(layout.splits),
            time.monotonic() - started,
            f"; linked {linked} from earlier runs" if linked else "",
        )

    def _write(self, shards: Sequence[Shard], partial_dir: str) -> None:
        """Writes shards in a Beam job."""
        if not shards:
            return
        fileio.makedirs(partial_dir)
        events.begin(len(shards), "shards")
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Shards" >> beam.Create(shards, reshuffle=True)
                | "WriteShards" >> beam.Map(write_shard, partial_dir)
            )
        fileio.rmtree(partial_dir)


class CifarExampleGen(base_beam_component.BaseBeamComponent):
    """Turns batch files into `image`, `label` and `key` examples.

    The splits are given as files, so nothing is hashed or drawn at random, and identical
    batches give byte-identical shards.
    """

    SPEC_CLASS = CifarExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        input_base: str,
        data_fingerprint: str,
        checksums: Mapping[str, str],
        options: DataOptions,
        eval_fingerprint: str = "",
    ) -> None:
        """Makes the node.

        Args:
            input_base: The folder of the batch files.
            data_fingerprint: Identifies these batches in the cache key.
            checksums: SHA-256 of each file of the data by name: where lineage ends.
            options: How the pictures are read.
            eval_fingerprint: Of the batches that models are judged on; empty if unknown.
        """
        data = {
            "checksums": dict(checksums),
            "options": dataclasses.asdict(options),
            "eval_fingerprint": eval_fingerprint,
        }
        super().__init__(
            spec=CifarExampleGenSpec(
                input_base=input_base,
                data_fingerprint=data_fingerprint,
                data=json.dumps(data),
                examples=types.Channel(type=standard_artifacts.Examples),
                schema=types.Channel(type=standard_artifacts.Schema),
            )
        )


def plan_shards(
    input_base: str,
    names: Sequence[str],
    split_dir: str,
    record_format: cifar_format.RecordFormat,
    has_keys: bool = False,
) -> list[Shard]:
    """Returns the shards of a split: equally many per batch file of a span, at least five.

    So a span has the same shards whatever other spans there are, and they can be linked.
    """
    per_span = collections.Counter(span_of(name) for name in names)
    parts = {name: math.ceil(MIN_SHARDS / per_span[span_of(name)]) for name in names}
    total = sum(parts.values())
    planned: list[Shard] = []
    for name in names:
        for part in range(parts[name]):
            source = f"{input_base}/{name}"
            target = f"{split_dir}/data_tfrecord-{len(planned):05d}-of-{total:05d}"
            keys = layouts.keys_path(source) if has_keys else ""
            planned.append(Shard(source, target, part, parts[name], record_format, name, keys))
    return planned


def span_of(name: str) -> str:
    """Returns the folder of the span that a batch file belongs to."""
    return name.rpartition("/")[0]


def batch_checksums(
    input_base: str, layout: layouts.Layout, checksums: Mapping[str, str]
) -> Mapping[str, str]:
    """Returns the SHA-256 of each batch file; converted pictures have their own list."""
    return batch_files.own_checksums(Path(input_base)) if layout.has_keys else checksums


def write_shard(shard: Shard, partial_dir: str) -> int:
    """Writes one shard atomically; returns its number of examples.

    Raises:
        ValueError: The batch has an incomplete record, or the shard's records a wrong label.
        tf.errors.NotFoundError: `partial_dir` is gone, because the job has ended.
    """
    record_format = shard.record_format
    size_bytes = tf.io.gfile.stat(shard.source).length
    cifar_format.check_length(size_bytes, record_format, shard.name)
    records = records_of(shard)
    keys = read_keys(shard)
    partial = f"{partial_dir}/{uuid.uuid4().hex}"
    with fileio.open(shard.source, "rb") as file, tf.io.TFRecordWriter(partial) as writer:
        for first, content in cifar_format.read_pieces(file, record_format, records):
            examples = example_format.encode_examples(
                content, shard.name, record_format, first, keys
            )
            for example in examples:
                writer.write(example)
    fileio.rename(partial, shard.target, overwrite=True)
    events.advance(1)
    return len(records)


def read_keys(shard: Shard) -> list[str]:
    """Returns the names of the records of a shard's batch file; none if they are numbered."""
    if not shard.keys:
        return []
    with fileio.open(shard.keys, "r") as file:
        return list(file.read().splitlines())


def check_counts(shards: Sequence[Shard]) -> None:
    """Raises RuntimeError unless each shard exists with all its examples."""
    wanted = {shard.target: len(records_of(shard)) for shard in shards}
    present = [target for target in wanted if fileio.exists(target)]
    # Opening files one by one takes longer than reading them. None can have too many examples.
    if present and example_files.count(present) == sum(wanted.values()):
        return
    for shard in shards:
        found = example_files.count([shard.target]) if shard.target in present else 0
        if found != wanted[shard.target]:
            raise RuntimeError(
                f"{shard.target} contains {found:,} examples, expected "
                f"{wanted[shard.target]:,} from {shard.name}. All workers must see the folder, "
                "and the batches must not change; run again."
            )


def records_of(shard: Shard) -> range:
    """Returns which records of its batch file a shard contains."""
    size_bytes = tf.io.gfile.stat(shard.source).length
    records = size_bytes // shard.record_format.record_bytes
    return range(shard.part * records // shard.parts, (shard.part + 1) * records // shard.parts)
