import struct

import pytest

from data_sources.cifar_format import CIFAR10, RecordFormat, decode_records

CIFAR100_COARSE, CIFAR100_FINE = (
    RecordFormat("cifar100", 2, index, tuple(str(label) for label in range(count)))
    for index, count in ((0, 20), (1, 100))
)


def record(*labels: int, pixels: bytes = bytes(3072)) -> bytes:
    return bytes(labels) + pixels


def test_blue_pixel_lands_in_its_row_and_column():
    pixels = bytearray(3072)
    pixels[2048 + 5 * 32 + 7] = 255  # blue plane, line 5, column 7
    images, labels = decode_records(record(3, pixels=bytes(pixels)))
    assert images[0, 5, 7, 2] == 255
    assert images.sum() == 255
    assert labels.tolist() == [3]


def test_decoding_agrees_with_reading_byte_by_byte(cifar_dir):
    content = (cifar_dir / "data_batch_2.bin").read_bytes()
    images, labels = decode_records(content)
    assert images.shape == (20, 32, 32, 3)
    for number, (label, *values) in enumerate(struct.iter_unpack("3073B", content)):
        assert labels[number] == label
        planes = values[:1024], values[1024:2048], values[2048:]
        pixels = [list(pixel) for pixel in zip(*planes, strict=True)]
        assert images[number].reshape(1024, 3).tolist() == pixels


def test_each_class_of_the_tiny_batches_has_its_colour(cifar_dir):
    images, labels = decode_records((cifar_dir / "test_batch.bin").read_bytes())
    assert labels.tolist() == [*range(10), *range(10)]
    red, green, blue = images[labels == 2].reshape(-1, 3).mean(axis=0)
    assert blue > 240
    assert max(red, green) < 40


def test_cifar100_records_have_two_labels():
    content = record(19, 99) + record(4, 30)
    _, coarse = decode_records(content, CIFAR100_COARSE)
    images, fine = decode_records(content, CIFAR100_FINE)
    assert coarse.tolist() == [19, 4]
    assert fine.tolist() == [99, 30]
    assert images.shape == (2, 32, 32, 3)


def test_cifar100_pixels_begin_after_both_labels():
    images, _ = decode_records(record(0, 0, pixels=b"\x07" + bytes(3071)), CIFAR100_FINE)
    assert images[0, 0, 0, 0] == 7
    assert images.sum() == 7


def test_decoded_images_may_be_changed():
    images, _ = decode_records(record(0))
    images[0, 0, 0, 0] = 1
    assert images.sum() == 1


def test_empty_batch_is_an_error():
    with pytest.raises(ValueError, match=r"test_batch\.bin is empty"):
        decode_records(b"", CIFAR10, "test_batch.bin")


def test_error_tells_where_the_last_whole_record_ends():
    content = record(1) + record(2)[:-1]
    with pytest.raises(ValueError, match=r"1 cifar10 records .* 3,072 .* from offset 3,073 on"):
        decode_records(content)


def test_error_tells_the_record_and_offset_of_a_wrong_label():
    content = record(9) + record(10) + record(200)
    with pytest.raises(
        ValueError, match=r"record 1 \(offset 3,073\): label 10, expected 0 to 9; 2"
    ):
        decode_records(content)


def test_error_tells_the_offset_of_a_wrong_second_label():
    with pytest.raises(ValueError, match=r"record 0 \(offset 1\): label 100"):
        decode_records(record(0, 100), CIFAR100_FINE)
