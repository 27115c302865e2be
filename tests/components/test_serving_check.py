"""A real server on real SavedModels, each broken in a different way."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.serving_check import Limits, RefusedError, check_model

LIMITS = Limits(max_difference=1e-5, max_latency_milliseconds=1_000.0)
CLASSES = 10


class BrightnessModel(tf.Module):
    """Probabilities that depend on an image's mean value and on a weight."""

    def __init__(self, shift: float = 0.0):
        super().__init__()
        self.weight = tf.Variable(tf.linspace(-1.0, 1.0, CLASSES) + shift * tf.range(10.0))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def predict(self, examples):
        spec = {"image": tf.io.FixedLenFeature([], tf.string)}
        images = tf.io.decode_raw(tf.io.parse_example(examples, spec)["image"], tf.uint8)
        means = tf.reduce_mean(tf.cast(images, tf.float32), axis=1, keepdims=True) / 255.0
        return {"probabilities": tf.nn.softmax(means * self.weight)}

    def save(self, folder: Path) -> str:
        tf.saved_model.save(self, str(folder), signatures={"predict_examples": self.predict})
        return str(folder)


@pytest.fixture(scope="module")
def examples() -> list[bytes]:
    return [
        tf.train.Example(
            features=tf.train.Features(
                feature={
                    "image": tf.train.Feature(
                        bytes_list=tf.train.BytesList(value=[bytes([brightness]) * 3072])
                    )
                }
            )
        ).SerializeToString()
        for brightness in range(0, 240, 4)
    ]


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    """The same probabilities, computed with NumPy."""
    means = np.arange(0, 240, 4, dtype=np.float32)[:, None] / 255
    logits = means * np.linspace(-1, 1, CLASSES, dtype=np.float32)
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_a_model_that_answers_like_its_trainer_is_blessed(tmp_path, examples, expected):
    model_dir = BrightnessModel().save(tmp_path / "model")
    report = check_model(model_dir, lambda: examples, expected, LIMITS)
    assert report.examples == 60
    assert 0 < report.difference < 1e-5
    assert 0 < report.latency_milliseconds <= report.slowest_milliseconds


def test_a_model_that_answers_otherwise_is_refused(tmp_path, examples, expected):
    model_dir = BrightnessModel(shift=0.01).save(tmp_path / "model")
    with pytest.raises(RefusedError, match=r"a probability served over gRPC differs by 0\.0"):
        check_model(model_dir, lambda: examples, expected, LIMITS)


def test_a_model_that_answers_nan_is_refused(tmp_path, examples, expected):
    model_dir = BrightnessModel(shift=float("nan")).save(tmp_path / "model")
    with pytest.raises(RefusedError, match="differs by nan"):
        check_model(model_dir, lambda: examples, expected, LIMITS)


def test_a_model_without_its_weights_is_refused(tmp_path, examples, expected):
    model_dir = BrightnessModel().save(tmp_path / "model")
    (tmp_path / "model/variables/variables.index").unlink()
    with pytest.raises(RefusedError, match="the server could not load it"):
        check_model(model_dir, lambda: examples, expected, LIMITS)


def test_a_model_without_the_signature_is_refused(tmp_path, examples, expected):
    model = BrightnessModel()
    tf.saved_model.save(model, str(tmp_path / "model"), signatures={"other": model.predict})
    with pytest.raises(RefusedError, match=r"a request failed: .*predict_examples"):
        check_model(str(tmp_path / "model"), lambda: examples, expected, LIMITS)


def test_a_slow_model_is_refused(tmp_path, examples, expected):
    model_dir = BrightnessModel().save(tmp_path / "model")
    limits = Limits(max_difference=1e-5, max_latency_milliseconds=1e-6)
    with pytest.raises(RefusedError, match=r"one image takes .* over gRPC; at most 1e-06 ms"):
        check_model(model_dir, lambda: examples, expected, limits)
