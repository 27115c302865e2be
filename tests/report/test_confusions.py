"""Which images were taken for which class."""

import base64
import io

import numpy as np
from PIL import Image

from report.confusions import confusions
from report.data import Split


def test_pairs_come_most_often_first_with_their_surest_images():
    images = np.zeros((5, 32, 32, 3), np.uint8)
    images[3] = 255  # the surest cat that was taken for a dog
    split = Split(images, np.array([3, 8, 0, 3, 3]), [f"test:{i}" for i in range(5)])
    probabilities = np.full((5, 10), 0.01)
    for index, (predicted, confidence) in enumerate(
        [(5, 0.5), (8, 0.9), (8, 0.6), (5, 0.7), (5, 0.6)]
    ):
        probabilities[index, predicted] = confidence
    cats, airplanes = confusions(split, probabilities)
    assert (cats.label, cats.predicted, cats.images, cats.shown) == (3, 5, 3, 3)
    assert cats.keys == ["test:3", "test:4", "test:0"]
    assert (airplanes.label, airplanes.predicted, airplanes.images) == (0, 8, 1)
    content = base64.b64decode(cats.picture.removeprefix("data:image/webp;base64,"))
    picture = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert picture.shape == (32, 3 * 34 - 2, 3)
    assert picture[:, :32].mean() > 200 > picture[:, 34:66].mean()
