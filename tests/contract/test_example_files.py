from pathlib import Path

import pytest
import tensorflow as tf

from contract import example_files


def write(path: Path, *records: bytes, compression: str = "") -> str:
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for record in records:
            writer.write(record)
    return str(path)


def test_missing_examples_are_named_in_the_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere/\*"):
        example_files.find([str(tmp_path / "nowhere" / "*")])


def test_files_are_sorted_whichever_pattern_finds_them(tmp_path):
    for name in ("a-1", "b-0", "a-0", "other"):
        (tmp_path / name).touch()
    found = example_files.find([str(tmp_path / "b-*"), str(tmp_path / "a-*")])
    assert [Path(file).name for file in found] == ["a-0", "a-1", "b-0"]


def test_the_first_examples_are_those_of_the_first_file(tmp_path):
    files = [write(tmp_path / "0", b"one", b"two"), write(tmp_path / "1", b"three", b"four")]
    assert example_files.read_first(files, 3) == [b"one", b"two", b"three"]
    assert example_files.count(files) == 4


def test_compressed_examples_are_read_too(tmp_path):
    path = write(
        tmp_path / "data_tfrecord-00000-of-00001.gz", b"one", b"two", compression="GZIP"
    )
    assert example_files.read_first([path], 5) == [b"one", b"two"]
    assert example_files.count([path]) == 2


def test_an_example_says_where_it_came_from():
    keys = [b"test_batch.bin:7", b"test_batch.bin:2"]
    examples = []
    for key in keys:
        example = tf.train.Example()
        example.features.feature["key"].bytes_list.value.append(key)
        examples.append(example.SerializeToString())
    assert example_files.keys_of(examples) == keys
