import pytest
from tensorflow.core.example import example_pb2

from data_sources.cifar_format import CIFAR10, RecordFormat
from data_sources.example_format import encode_examples

CIFAR100_FINE = RecordFormat("cifar100", 2, 1, tuple(str(label) for label in range(100)))


def decode(serialized: bytes) -> tuple[bytes, list[int], bytes]:
    """Returns the image, the labels and the key of an example."""
    feature = example_pb2.Example.FromString(serialized).features.feature
    assert sorted(feature) == ["image", "key", "label"]
    return (
        feature["image"].bytes_list.value[0],
        list(feature["label"].int64_list.value),
        feature["key"].bytes_list.value[0],
    )


def test_a_record_becomes_pixels_a_label_and_where_it_came_from():
    record = bytes([6]) + bytes([1]) * 1024 + bytes([2]) * 1024 + bytes([3]) * 1024
    (example,) = encode_examples(record, "test_batch.bin", CIFAR10)
    # Planes of red, green and blue in the file, pixel after pixel in the example.
    assert decode(example) == (bytes([1, 2, 3]) * 1024, [6], b"test_batch.bin:0")


def test_the_label_is_that_of_the_format():
    record = bytes([7, 63]) + bytes(3072)
    (example,) = encode_examples(record, "train.bin", CIFAR100_FINE)
    assert decode(example)[1] == [63]


def test_some_records_keep_their_numbers():
    content = b"".join(bytes([label]) + bytes(3072) for label in range(5))
    examples = encode_examples(content, "b", CIFAR10, slice(1, 5, 2))
    assert [decode(example)[1:] for example in examples] == [([1], b"b:1"), ([3], b"b:3")]
    assert examples == encode_examples(content, "b", CIFAR10)[1:5:2]


def test_a_batch_is_checked_whole_whichever_records_are_asked_for():
    content = bytes(3073) + bytes([10]) + bytes(3072)
    with pytest.raises(ValueError, match=r"b, record 1.*label 10"):
        encode_examples(content, "b", CIFAR10, slice(0, 1))
