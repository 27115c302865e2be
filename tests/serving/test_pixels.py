import io
import struct
import time
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from serving.model_server import pixels
from serving.model_server.status import ServingError


def picture(size: tuple[int, int], kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("1" if kind == "PNG" else "L", size).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
def test_pixels_are_counted_without_decoding(kind):
    assert pixels.declared_pixels(picture((300, 200), kind)) == 60_000
    assert pixels.declared_pixels(picture((300, 200), kind)[:12]) == 0


def gif(*frames: tuple[int, int], version: bytes = b"9a") -> bytes:
    """Returns a GIF of grey frames on a screen of one pixel."""
    parts = [b"GIF8" + version + struct.pack("<HHBBB", 1, 1, 0x87, 0, 0) + b"a" * 768]
    for size in frames:
        file = io.BytesIO()
        Image.new("1", size, 1).save(file, "GIF")
        saved = file.getvalue()
        at = saved.index(struct.pack("<c4xHH", b",", *size))
        parts.append(saved[at:-1])
    return b"".join(parts) + b";"


@pytest.mark.parametrize("version", [b"9a", b"7a", b"xx"])
def test_all_frames_of_a_gif_count_as_tensorflow_allocates_them(version):
    animation = gif((1, 1), (30, 20), (10, 40), version=version)
    assert pixels.declared_pixels(animation) == 3 * 30 * 40
    first = tf.io.decode_image(animation, 3, expand_animations=False)
    assert first.shape == (40, 30, 3)
    assert tf.io.decode_image(animation, 3).shape == (3, 40, 30, 3)


def test_frames_before_the_end_of_a_truncated_gif_count():
    truncated = gif((30, 20), (300, 200))[:-100]
    assert tf.io.decode_image(truncated, 3, expand_animations=False).shape[:2] == (20, 30)
    assert pixels.declared_pixels(truncated) >= 30 * 20


def test_a_gif_with_a_local_colour_table_and_a_comment_counts():
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (2, 20, 30, 3), np.uint8)
    first, second = map(Image.fromarray, noise)
    first.save(file, "GIF", save_all=True, append_images=[second], comment=b"GIF" * 200)
    assert pixels.declared_pixels(file.getvalue()) == 2 * 30 * 20


# The last one's heads are data of the comments before them, so that each walk takes them all.
@pytest.mark.parametrize(
    "part",
    [
        b"\0\0\0\x0dIHDR" + bytes(8),
        b"\xff\xd8\xff\xc0\0\x0b\x08\0\0\0\0\1",
        b"GIF8",
        b"\1a",
        b"!\xfe\x10GIF89a" + bytes(7) + b"!\xfea",
    ],
    ids=["PNG", "JPEG", "GIF", "blocks", "GIFs in GIFs"],
)
def test_parts_that_take_long_to_count_are_refused(part):
    value = b"GIF89a" + bytes(7) + b"!\xfe" * (part == b"\1a") + part * 2**20
    start = time.monotonic()
    with pytest.raises(ServingError, match="parts, such as the blocks of a GIF"):
        pixels.declared_pixels(value)
    assert time.monotonic() - start < 5


def test_a_large_animation_has_few_parts():
    noise = np.random.default_rng(0).integers(0, 256, (20, 200, 300), np.uint8)
    first, *others = map(Image.fromarray, noise)
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=others)
    assert pixels.declared_pixels(file.getvalue()) == 20 * 200 * 300


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_size_behind_a_part_that_pillow_does_not_know_counts(kind):
    plain = picture((300, 200), kind)
    if kind == "PNG":
        chunk = b"\0\0\0\0abCd" + struct.pack(">I", zlib.crc32(b"abCd"))
        strange = plain[:8] + chunk * 2 + plain[8:]
    else:
        at = plain.index(b"\xff\xc0")
        strange = plain[:at] + b"\xff\x01" + plain[at:]
    assert tf.io.decode_image(strange, 3).shape == (200, 300, 3)
    assert pixels.declared_pixels(strange) == 60_000


def test_a_bmp_has_as_many_bytes_as_pixels():
    """Why it need not be counted."""
    file = io.BytesIO()
    Image.new("RGB", (30, 20)).save(file, "BMP")
    assert tf.io.decode_image(file.getvalue()).shape == (20, 30, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Input size should match"):
        tf.io.decode_image(file.getvalue()[:-1])


@pytest.mark.parametrize("kind", ["JPEG", "GIF"])
def test_every_kind_counts_inside_of_an_example(kind):
    record = b"\x0a\x05image" + picture((3000, 2000), kind)
    assert pixels.declared_pixels(record) == 6_000_000


def test_pictures_inside_of_examples_count_too():
    record = b"\x0a\x05image" + picture((9000, 9000), "PNG") + picture((1000, 500), "PNG")
    with pytest.raises(ServingError, match="81,500,000 pixels"):
        pixels.check_images([np.array([record], object)])


def test_a_photograph_passes():
    pixels.check_images([np.array([picture((4000, 3000), "JPEG")] * 1, object)])
    noise = np.random.default_rng(0).integers(0, 256, (3000, 4000), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    pixels.check_images([np.array([file.getvalue()] * 8, object)])


def test_what_is_no_image_has_no_pixels():
    assert pixels.declared_pixels(b"") == 0
    assert pixels.declared_pixels(b"hello") == 0


def test_pixels_that_are_sent_as_they_are_are_not_counted():
    pixels.check_images([np.broadcast_to(np.uint8(0), (1, 9000, 9000))])
