"""Which images were taken for which class."""

import base64
import io

import numpy as np
from PIL import Image

from report import confusions


def test_pairs_come_most_often_first_with_their_surest_images():
    images = np.zeros((5, 32, 32, 3), np.uint8)
    images[3] = 255  # the surest cat that was taken for a dog
    keys = [f"test:{i}" for i in range(5)]
    labels, predicted = np.array([3, 8, 0, 3, 3]), np.array([5, 8, 8, 5, 5])
    pairs = confusions.pairs([3, 4, 2, 0], labels, predicted)
    cats, airplanes = [
        confusions.confusion(pair, dict(enumerate(images)), keys) for pair in pairs
    ]
    assert (cats.label, cats.predicted, cats.images, cats.shown) == (3, 5, 3, 3)
    assert cats.keys == ["test:3", "test:4", "test:0"]
    assert (airplanes.label, airplanes.predicted, airplanes.images) == (0, 8, 1)
    content = base64.b64decode(cats.picture.removeprefix("data:image/webp;base64,"))
    picture = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert picture.shape == (32, 3 * 34 - 2, 3)
    assert picture[:, :32].mean() > 200 > picture[:, 34:66].mean()
