import numpy as np
import pytest
from PIL import Image

from data_sources.cifar_format import CIFAR10
from serving.client import Prediction
from serving.sample_predictions import ask, draw, show, write_picture

CLASS_NAMES = CIFAR10.class_names


class MeanColourClient:
    """Answers with the class whose number is the image's first red value modulo ten."""

    def classify_pixels(self, images):
        assert (images.dtype, images.shape[1:]) == (np.uint8, (32, 32, 3))
        assert 1 <= len(images) <= 32  # as deploy/config/batching.config allows
        ids = [int(image[0, 0, 0]) % 10 for image in images]
        return [Prediction(one, CLASS_NAMES[one], (0.1,) * 10) for one in ids]


def test_images_are_drawn_once_each_with_their_true_class(cifar_dir):
    drawn = draw(20, seed=0, data_dir=cifar_dir)
    records = np.fromfile(cifar_dir / "test_batch.bin", np.uint8).reshape(-1, 3073)
    assert len({image.key for image in drawn}) == 20
    for image in drawn:
        record = records[int(image.key.split(":")[1])]
        assert image.true_class == CLASS_NAMES[record[0]]
        assert image.pixels[3, 5].tolist() == [
            record[1 + 1024 * c + 3 * 32 + 5] for c in range(3)
        ]


def test_the_seed_chooses_the_images(cifar_dir):
    first = [image.key for image in draw(5, seed=1, data_dir=cifar_dir)]
    assert [image.key for image in draw(5, seed=1, data_dir=cifar_dir)] == first
    assert [image.key for image in draw(5, seed=2, data_dir=cifar_dir)] != first


def test_more_images_than_there_are_is_an_error(cifar_dir):
    with pytest.raises(ValueError, match="has 20 images, but 21 were requested"):
        draw(21, seed=0, data_dir=cifar_dir)


@pytest.mark.parametrize("count", [1, 32, 33, 64, 100])
def test_any_number_of_images_is_asked_in_requests_that_batching_takes(tmp_path, count):
    drawn = draw(count, seed=0, data_dir=tmp_path)
    answers = ask(MeanColourClient(), drawn)
    assert [answer.drawn.key for answer in answers] == [image.key for image in drawn]
    for answer in answers:
        assert answer.prediction.class_id == answer.drawn.pixels[0, 0, 0] % 10


def test_answers_are_shown_and_drawn(cifar_dir, tmp_path, capsys):
    answers = ask(MeanColourClient(), draw(7, seed=0, data_dir=cifar_dir))
    show(answers, as_json=False)
    right = sum(
        answer.drawn.pixels[0, 0, 0] % 10 == CLASS_NAMES.index(answer.drawn.true_class)
        for answer in answers
    )
    assert f"{right} of 7 right" in capsys.readouterr().out
    write_picture(answers, tmp_path / "seven.png")
    with Image.open(tmp_path / "seven.png") as picture:
        assert picture.width > 1_000
        assert picture.height > 500
