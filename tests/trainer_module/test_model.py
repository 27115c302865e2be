import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compat import v1

from data_sources.cifar_format import CIFAR10
from tests.trainer_module import reference_network
from tests.trainer_module.one_step import CONFIG, Step
from trainer_module import model
from trainer_module.hyper_parameters import QUICK
from trainer_module.preprocessing import STANDARDIZED_IMAGE


@pytest.fixture(scope="module")
def step() -> Step:
    return Step(CONFIG)


def test_loss_is_cross_entropy_plus_the_decay_of_the_dense_kernels(step):
    expected = reference_network.total_loss(
        step.images.astype(float), step.labels, step.weights()
    )
    assert step.session.run(step.spec.loss) == pytest.approx(expected, rel=1e-5)


def test_gradients_are_the_slopes_of_the_loss(step):
    weights = step.weights()
    images = step.images.astype(float)
    gradients = step.session.run(step.gradients)
    draws = np.random.default_rng(2)
    for name, gradient in gradients.items():
        # Along the gradient every error shows; a random part shows what it lacks.
        direction = gradient / np.linalg.norm(gradient)
        direction = direction + draws.normal(size=gradient.shape) / np.sqrt(gradient.size)
        losses = [
            reference_network.total_loss(
                images, step.labels, {**weights, name: weights[name] + epsilon * direction}
            )
            for epsilon in (-1e-6, 1e-6)
        ]
        slope = (losses[1] - losses[0]) / 2e-6
        assert np.sum(gradient * direction) == pytest.approx(slope, rel=2e-3), name


def test_a_smoothed_loss_asks_for_a_share_of_every_class():
    smoothed = Step(dataclasses.replace(CONFIG, label_smoothing=0.1))
    images, weights = smoothed.images.astype(float), smoothed.weights()
    one_hot = np.eye(10)[smoothed.labels]
    decay = reference_network.total_loss(images, smoothed.labels, weights)
    decay -= cross_entropy(smoothed, one_hot)
    expected = cross_entropy(smoothed, 0.9 * one_hot + 0.1 / 10) + decay
    assert smoothed.session.run(smoothed.spec.loss) == pytest.approx(expected, rel=1e-5)


def test_the_curve_of_the_cross_entropy_is_comparable_with_that_on_eval():
    logits = np.array([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]], np.float32)
    smooth = dataclasses.replace(QUICK, label_smoothing=0.3)
    with tf.Graph().as_default(), v1.Session() as session:
        losses = model.losses_of(tf.constant(logits), tf.constant([0, 1]), (), smooth)
        found = session.run(losses)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    plain = -(log_probabilities[0, 0] + log_probabilities[1, 1]) / 2
    assert found["cross_entropy"] == pytest.approx(plain)
    smoothed = 0.7 * plain - 0.3 * log_probabilities.mean()
    assert found["total_loss"] == pytest.approx(smoothed)


def cross_entropy(step: Step, wanted: np.ndarray) -> float:
    """Returns the mean cross-entropy of a step's images.

    Args:
        step: Has the images and the weights.
        wanted: Probabilities, [image, class].
    """
    activations = reference_network.activations(step.images.astype(float), step.weights())
    logits = activations["softmax_linear"]
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -(wanted * log_probabilities).sum(axis=1).mean()


def test_without_decay_there_is_only_the_cross_entropy():
    step = Step(dataclasses.replace(CONFIG, weight_decay=0.0))
    expected = cross_entropy(step, np.eye(10)[step.labels])
    assert step.session.run(step.spec.loss) == pytest.approx(expected, rel=1e-5)
    assert not [node for node in step.graph.get_operations() if node.type == "L2Loss"]


def test_one_update_follows_the_gradient_and_the_averages_follow_the_new_weights():
    step = Step(CONFIG)
    before, gradients = step.weights(), step.session.run(step.gradients)
    step.session.run(step.spec.train_op)
    after, averages = step.weights(), step.weights("/ExponentialMovingAverage")
    decay = (1 + 1) / (10 + 1)  # at step 1; 0.9999 comes later
    for name in before:
        np.testing.assert_allclose(
            after[name], before[name] - 0.1 * gradients[name], rtol=1e-5, atol=1e-7
        )
        np.testing.assert_allclose(
            averages[name],
            decay * before[name] + (1 - decay) * after[name],
            rtol=1e-5,
            atol=1e-7,
        )


def test_learning_rate_falls_by_a_tenth_every_350_epochs():
    config = dataclasses.replace(CONFIG, epochs_per_decay=0.04)  # one step of 4 in 100
    step = Step(config)
    rates = []
    for _ in range(3):
        before, gradients = step.weights(), step.session.run(step.gradients)
        step.session.run(step.spec.train_op)
        moved = before["softmax_linear/biases"] - step.weights()["softmax_linear/biases"]
        rates.append(np.mean(moved / gradients["softmax_linear/biases"]))
    np.testing.assert_allclose(rates, [0.1, 0.01, 0.001], rtol=1e-2)


def test_small_gradients_survive_float16(monkeypatch):
    """The last layer's gradients are so small that float16 loses almost all of them."""

    def update_of_conv1(dtype: str) -> np.ndarray:
        step = Step(dataclasses.replace(CONFIG, compute_dtype=dtype))
        with step.graph.as_default():
            (last,) = (v for v in v1.trainable_variables() if "softmax_linear/w" in v.name)
            step.session.run(last.assign(last * 3e-4))
        before = step.weights()["conv1/weights"]
        step.session.run(step.spec.train_op)
        update = step.weights()["conv1/weights"] - before
        return update / np.linalg.norm(update)

    exact = update_of_conv1("float32")
    assert np.sum(update_of_conv1("float16") * exact) > 0.998
    monkeypatch.setattr(model, "FLOAT16_LOSS_SCALE", 1.0)
    assert np.sum(update_of_conv1("float16") * exact) < 0.9


@pytest.mark.parametrize(("mode", "dtype"), [("eval", tf.bfloat16), ("infer", tf.float32)])
def test_only_evaluations_compute_as_training_does(mode, dtype):
    with tf.Graph().as_default() as graph:
        v1.train.get_or_create_global_step()
        batch = {STANDARDIZED_IMAGE: tf.zeros([4, 24, 24, 3])}
        hyper_parameters = dataclasses.replace(QUICK, compute_dtype="bfloat16")
        params = {"hyper_parameters": hyper_parameters, "class_names": CIFAR10.class_names}
        labels = tf.zeros([4], tf.int64) if mode == "eval" else None
        model.model_fn(batch, labels, mode, params)
    convolutions = [op for op in graph.get_operations() if op.type == "Conv2D"]
    assert {convolution.outputs[0].dtype for convolution in convolutions} == {dtype}
