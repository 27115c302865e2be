import base64
import io

import numpy as np
import pytest
from PIL import Image

from report import data, model, pictures


def test_pixel_statistics_are_those_of_numpy():
    images = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), np.uint8)
    found = data.pixel_statistics(data.pixel_counts(images[:3]) + data.pixel_counts(images[3:]))
    assert found.mean == pytest.approx(images.mean(axis=(0, 1, 2)))
    assert found.std == pytest.approx(images.std(axis=(0, 1, 2)))
    assert found.histogram[1][17] == pytest.approx((images[..., 1] == 17).mean(), abs=1e-6)


def test_images_are_picked_from_the_batch_that_holds_them():
    images = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), np.uint8)
    batches = [
        data.Split(part, np.zeros(len(part), np.int64), ["" for _ in part])
        for part in (images[:3], images[3:6], images[6:])
    ]
    picked = data.pick_images(batches, {0, 2, 3, 6})
    assert sorted(picked) == [0, 2, 3, 6]
    assert all((picked[index] == images[index]).all() for index in picked)


def test_a_sheet_keeps_every_pixel_and_leaves_gaps_clear():
    red = np.full((2, 2, 3), (255, 0, 0), np.uint8)
    blue = np.full((2, 2, 3), (0, 0, 255), np.uint8)
    sheet = pictures.sheet([red, blue, blue], columns=2, gap=1)
    assert sheet.shape == (5, 5, 4)
    assert sheet[0, 0].tolist() == [255, 0, 0, 255]
    assert sheet[1, 3].tolist() == [0, 0, 255, 255]
    assert sheet[4, 0].tolist() == [0, 0, 255, 255]
    assert sheet[2].max() == 0  # the gap between the rows
    assert sheet[4, 4].max() == 0  # the place without an image


def test_a_picture_survives_its_way_into_the_page():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    head, content = pictures.data_uri(image).split(",")
    assert head == "data:image/png;base64"
    assert (np.array(Image.open(io.BytesIO(base64.b64decode(content)))) == image).all()


def test_a_filter_is_grey_where_it_does_not_look():
    kernel = np.zeros((5, 5, 3, 2), np.float32)
    kernel[0, 0, 0, 1] = 0.5  # the second filter looks for red in its corner
    sheet = model.filter_sheet(kernel)
    assert sheet[0, 0, :3].tolist() == [128, 128, 128]
    assert sheet[0, 6, :3].tolist() == [255, 128, 128]
