import io

import numpy as np
import pytest
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
