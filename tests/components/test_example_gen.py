import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tfx.types import standard_artifacts

from components.example_gen import CifarExampleGen, Executor
from data_sources import cifar_format


def generate(
    input_base: Path, output: Path, record_format=cifar_format.CIFAR10, **splits
) -> Path:
    """Runs the executor and returns the folder of its examples."""
    node = CifarExampleGen(str(input_base), "fingerprint", splits, record_format)
    examples = standard_artifacts.Examples()
    examples.uri = str(output)
    Executor().Do({}, {"examples": [examples]}, dict(node.exec_properties))
    assert json.loads(examples.split_names) == list(splits)
    return output


def read(shard: Path) -> list[dict]:
    """Returns the features of each example of a shard, read by TensorFlow."""
    spec = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
        "key": tf.io.FixedLenFeature([], tf.string),
    }
    records = tf.data.TFRecordDataset(str(shard))
    return list(
        records.map(lambda record: tf.io.parse_single_example(record, spec)).as_numpy_iterator()
    )


def test_every_record_becomes_an_example(cifar_dir, tmp_path):
    output = generate(cifar_dir, tmp_path / "examples", train=["data_batch_2.bin"])
    (shard,) = (output / "Split-train").iterdir()
    examples = read(shard)
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
        "Split-eval/data_tfrecord-00000-of-00001",
        *(f"Split-train/data_tfrecord-0000{index}-of-00005" for index in range(5)),
    ]
    keys = [example["key"] for example in read(output / names[0])]
    assert keys == [f"test_batch.bin:{record}".encode() for record in range(20)]


def test_equal_batches_give_equal_bytes(cifar_dir, tmp_path):
    shards = [
        next(
            (
                generate(cifar_dir, tmp_path / run, eval=["test_batch.bin"]) / "Split-eval"
            ).iterdir()
        )
        for run in ("first", "second")
    ]
    assert shards[0].read_bytes() == shards[1].read_bytes()


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
        examples = read(next((output / "Split-train").iterdir()))
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
