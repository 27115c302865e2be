import numpy as np
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


def test_the_records_of_a_piece_keep_their_numbers():
    content = b"".join(bytes([label]) + bytes(3072) for label in range(5))
    examples = encode_examples(content[2 * 3073 :], "b", CIFAR10, first=2)
    assert [decode(example)[1:] for example in examples] == [
        ([2], b"b:2"),
        ([3], b"b:3"),
        ([4], b"b:4"),
    ]
    assert examples == encode_examples(content, "b", CIFAR10)[2:]


@pytest.mark.parametrize("size", [1, 6, 64])
@pytest.mark.parametrize("key", ["k", "a/b/картинка.png", "x" * 200])
def test_examples_are_what_protobuf_serializes(size: int, key: str):
    classes = RecordFormat("mine", 2, 0, tuple(map(str, range(300))), size, "<u2")
    rng = np.random.default_rng(size)
    pixels = rng.integers(256, size=(300, 3 * size * size), dtype=np.uint8)
    pixels[0], pixels[1] = 0, 255
    content = b"".join(
        label.to_bytes(2, "little") + image.tobytes() for label, image in enumerate(pixels)
    )
    keys = [f"{key}{record}" for record in range(300)]
    examples = encode_examples(content, "b", classes, keys=keys)
    for label, (example, image) in enumerate(zip(examples, pixels, strict=True)):
        interleaved = image.reshape(3, -1).T.tobytes()
        assert decode(example) == (interleaved, [label], keys[label].encode())
        parsed = example_pb2.Example.FromString(example)
        assert example == parsed.SerializeToString(deterministic=True)


def test_a_wrong_label_is_named_by_its_place_in_the_file():
    content = bytes(3073) + bytes([10]) + bytes(3072)
    with pytest.raises(ValueError, match=r"b, record 8 \(offset 24,584\): label 10"):
        encode_examples(content, "b", CIFAR10, first=7)
