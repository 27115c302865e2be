import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from tfx.types import standard_artifacts

from components.example_gen import (
    PARTIAL_DIR,
    CifarExampleGen,
    Executor,
    Shard,
    plan_shards,
    write_shard,
)
from data_sources import cifar_format


def generate(
    input_base: Path,
    output: Path,
    record_format=cifar_format.CIFAR10,
    executor: Executor | None = None,
    **splits,
) -> Path:
    """Runs the executor and returns the folder of its examples."""
    node = CifarExampleGen(str(input_base), "fingerprint", splits, record_format)
    examples = standard_artifacts.Examples()
    examples.uri = str(output)
    (executor or Executor()).Do({}, {"examples": [examples]}, dict(node.exec_properties))
    assert json.loads(examples.split_names) == list(splits)
    return output


def read(split_dir: Path) -> list[dict]:
    """Returns the features of each example of a split, read by TensorFlow."""
    spec = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
        "key": tf.io.FixedLenFeature([], tf.string),
    }
    records = tf.data.TFRecordDataset([str(path) for path in sorted(split_dir.iterdir())])
    return list(
        records.map(lambda record: tf.io.parse_single_example(record, spec)).as_numpy_iterator()
    )


def test_every_record_becomes_an_example(cifar_dir, tmp_path):
    output = generate(cifar_dir, tmp_path / "examples", train=["data_batch_2.bin"])
    examples = read(output / "Split-train")
    records = np.fromfile(cifar_dir / "data_batch_2.bin", np.uint8).reshape(-1, 3073)
    assert [example["label"] for example in examples] == records[:, 0].tolist()
    for number, (example, record) in enumerate(zip(examples, records, strict=True)):
        red, green, blue = record[1:].reshape(3, 32, 32)
        image = np.stack([red, green, blue], axis=-1)
        assert example["image"] == image.tobytes()
        assert example["key"] == f"data_batch_2.bin:{number}".encode()


def test_splits_are_the_files_given_and_nothing_is_drawn_anew(cifar_dir, tmp_path):
    output = generate(
        cifar_dir,
        tmp_path / "examples",
        train=cifar_format.TRAIN_FILES,
        eval=cifar_format.EVAL_FILES,
    )
    names = sorted(str(path.relative_to(output)) for path in output.rglob("data*"))
    assert names == [
        *(f"Split-eval/data_tfrecord-0000{index}-of-00005" for index in range(5)),
        *(f"Split-train/data_tfrecord-0000{index}-of-00005" for index in range(5)),
    ]
    keys = [example["key"] for example in read(output / "Split-eval")]
    assert keys == [f"test_batch.bin:{record}".encode() for record in range(20)]


def test_equal_batches_give_equal_bytes(cifar_dir, tmp_path):
    shards = [
        sorted(generate(cifar_dir, tmp_path / run, eval=["test_batch.bin"]).glob("Split-*/*"))
        for run in ("first", "second")
    ]
    first, second = ([shard.read_bytes() for shard in run] for run in shards)
    assert len(first) == 5
    assert first == second


def test_cifar_100_is_read_with_either_of_its_labels(tmp_path):
    record = bytes([7, 63]) + bytes(range(256)) * 12
    (tmp_path / "train.bin").write_bytes(record * 2)
    for record_format, label in (
        (cifar_format.CIFAR100_COARSE, 7),
        (cifar_format.CIFAR100_FINE, 63),
    ):
        output = generate(
            tmp_path, tmp_path / record_format.name, record_format, train=["train.bin"]
        )
        examples = read(output / "Split-train")
        assert [example["label"] for example in examples] == [label, label]


def test_missing_batches_are_named_in_the_error(cifar_dir, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"lacks data_batch_8\.bin, data_batch_9\.bin"):
        generate(
            cifar_dir,
            tmp_path / "examples",
            train=["data_batch_1.bin", "data_batch_8.bin", "data_batch_9.bin"],
        )


def test_a_damaged_batch_stops_the_node(tmp_path):
    (tmp_path / "train.bin").write_bytes(bytes([11]) + bytes(3072))
    with pytest.raises(ValueError, match=r"train\.bin, record 0 .*: label 11, expected 0 to 9"):
        generate(tmp_path, tmp_path / "examples", train=["train.bin"])


def test_the_checksums_of_the_batches_stay_with_the_examples(cifar_dir, tmp_path):
    node = CifarExampleGen(str(cifar_dir), "fingerprint", {"eval": ["test_batch.bin"]})
    examples = standard_artifacts.Examples()
    examples.uri = str(tmp_path / "examples")
    Executor().Do({}, {"examples": [examples]}, dict(node.exec_properties))
    digest = hashlib.sha256((cifar_dir / "test_batch.bin").read_bytes()).hexdigest()
    checksums = json.loads(examples.get_string_custom_property("checksums"))
    assert checksums == {"test_batch.bin": digest}


def test_every_split_has_shards_enough_for_several_workers(tmp_path):
    for sources, parts in ((1, 5), (2, 3), (5, 1), (7, 1)):
        names = [f"batch_{number}.bin" for number in range(sources)]
        shards = plan_shards(names, "Split-x", cifar_format.CIFAR10)
        assert len(shards) == sources * parts
        assert [shard.target for shard in shards] == sorted(shard.target for shard in shards)


def test_the_shards_of_a_batch_have_the_bytes_of_one(cifar_dir, tmp_path):
    batch = str(cifar_dir / "test_batch.bin")
    whole = Shard(batch, str(tmp_path / "whole"), 0, 1, cifar_format.CIFAR10)
    shards = plan_shards([batch], str(tmp_path), cifar_format.CIFAR10)
    assert write_shard(whole, str(tmp_path)) == 20
    assert [write_shard(shard, str(tmp_path)) for shard in shards] == [4] * 5
    together = b"".join(Path(shard.target).read_bytes() for shard in shards)
    assert together == Path(whole.target).read_bytes()


def test_a_late_twin_finds_no_place_to_write_and_leaves_the_shard_alone(cifar_dir, tmp_path):
    output = generate(cifar_dir, tmp_path / "examples", eval=["test_batch.bin"])
    files = {path: path.stat() for path in output.rglob("*") if path.is_file()}
    assert len(files) == 5
    batch = str(cifar_dir / "test_batch.bin")
    shards = plan_shards([batch], str(output / "Split-eval"), cifar_format.CIFAR10)
    with pytest.raises(tf.errors.NotFoundError):
        write_shard(shards[2], str(output / PARTIAL_DIR))
    assert {path: path.stat() for path in output.rglob("*") if path.is_file()} == files


def test_twins_that_write_a_shard_at_once_leave_one_whole(cifar_dir, tmp_path):
    batch = str(cifar_dir / "test_batch.bin")
    shard = Shard(batch, str(tmp_path / "shard/one"), 0, 1, cifar_format.CIFAR10)
    (tmp_path / "shard").mkdir()
    (tmp_path / "partial").mkdir()
    with ThreadPoolExecutor(4) as twins:
        written = [
            twins.submit(write_shard, shard, str(tmp_path / "partial")) for _ in range(8)
        ]
    assert [one.result() for one in written] == [20] * 8
    assert list((tmp_path / "partial").iterdir()) == []
    keys = [example["key"] for example in read(tmp_path / "shard")]
    assert keys == [f"test_batch.bin:{record}".encode() for record in range(20)]


class KilledTwin(Executor):
    """Its engine ran every shard once before, and killed that attempt in the middle."""

    def _make_beam_pipeline(self):
        (partial_dir,) = self.output.glob(PARTIAL_DIR)
        (partial_dir / "killed").write_bytes(b"half a record")
        return super()._make_beam_pipeline()


def test_what_a_killed_attempt_left_is_no_example(cifar_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(KilledTwin, "output", tmp_path / "examples", raising=False)
    output = generate(
        cifar_dir, tmp_path / "examples", executor=KilledTwin(), eval=["test_batch.bin"]
    )
    assert [path.name for path in output.iterdir()] == ["Split-eval"]
    assert len(list((output / "Split-eval").iterdir())) == 5


class LosesAShard(Executor):
    """Its engine's worker wrote one shard to a folder that is not shared."""

    def _make_beam_pipeline(self):
        class Pipeline(beam.Pipeline):
            def __exit__(pipeline, *exception):  # noqa: N805
                super().__exit__(*exception)
                next(self.output.glob("Split-*/*00003-of*")).unlink()

        return Pipeline()


def test_a_shard_that_is_lost_is_an_error(cifar_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(LosesAShard, "output", tmp_path / "examples", raising=False)
    with pytest.raises(RuntimeError, match=r"00003-of-00005 holds 0 examples, expected 4 of"):
        generate(
            cifar_dir, tmp_path / "examples", executor=LosesAShard(), eval=["test_batch.bin"]
        )
