import dataclasses
import os
import re

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compat import v1

from tests.trainer_module import reference_network
from trainer_module import fast_operations, model
from trainer_module.hyper_parameters import QUICK, REFERENCE, HyperParameters
from trainer_module.preprocessing import STANDARDIZED_IMAGE

# Convolutions start from 1e-4 in the classic recipe, too small to make an error visible.
CONFIG = dataclasses.replace(REFERENCE, conv_stddev=5e-2, batch_size=4, learning_rate=0.1)


class Step:
    """One training step on four fixed images, in a graph and a session of its own."""

    def __init__(self, hyper_parameters: HyperParameters) -> None:
        draws = np.random.default_rng(0)
        self.images = draws.normal(size=(4, 24, 24, 3)).astype(np.float32)
        self.labels = np.array([3, 0, 9, 3])
        self.graph = tf.Graph()
        with self.graph.as_default():
            v1.set_random_seed(1)
            v1.train.get_or_create_global_step()
            batch = {STANDARDIZED_IMAGE: tf.constant(self.images)}
            params = {"hyper_parameters": hyper_parameters, "num_train_examples": 100}
            self.spec = model.model_fn(batch, tf.constant(self.labels), "train", params)
            self.session = v1.Session()
            self.session.run(v1.global_variables_initializer())
            self.gradients = dict(
                zip(
                    [variable.op.name for variable in v1.trainable_variables()],
                    tf.gradients(self.spec.loss, v1.trainable_variables()),
                    strict=True,
                )
            )

    def weights(self, suffix: str = "") -> dict[str, np.ndarray]:
        with self.graph.as_default():
            trainable = [variable.op.name for variable in v1.trainable_variables()]
            variables = {v.op.name: v for v in v1.global_variables()}
            names = {name: variables[name + suffix] for name in trainable}
            return {name: v.astype(float) for name, v in self.session.run(names).items()}


@pytest.fixture(scope="module")
def step() -> Step:
    return Step(CONFIG)


def test_activations_are_those_of_the_classic_network(step):
    expected = reference_network.activations(step.images.astype(float), step.weights())
    for layer, values in expected.items():
        found = step.session.run(step.graph.get_tensor_by_name(f"{layer}/activation:0"))
        np.testing.assert_allclose(found, values, rtol=1e-4, atol=1e-5, err_msg=layer)


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


def test_a_batch_in_parts_trains_as_a_whole_one(step, monkeypatch):
    monkeypatch.setattr(fast_operations, "num_parts", lambda batch_size: 3)
    parted = Step(CONFIG)
    assert [
        operation.name
        for operation in parted.graph.get_operations()
        if re.fullmatch(r"conv1/activation(_\d+)?", operation.name)
    ] == [
        "conv1/activation",
        "conv1/activation_1",
        "conv1/activation_2",
    ]
    assert parted.session.run(parted.spec.loss) == pytest.approx(
        step.session.run(step.spec.loss), rel=1e-6
    )
    whole = step.session.run(step.gradients)
    for name, gradient in parted.session.run(parted.gradients).items():
        np.testing.assert_allclose(gradient, whole[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_each_core_gets_a_part_of_at_least_32_images():
    cores = len(os.sched_getaffinity(0))
    assert fast_operations.num_parts(cores * 32) == cores
    assert fast_operations.num_parts(63) == 1
    assert fast_operations.num_parts(4) == 1


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


@pytest.mark.parametrize("shape", [(2, 5, 5, 64), (3, 12, 12, 16)])
def test_normalization_and_its_gradient_are_those_of_tensorflow(shape):
    draws = np.random.default_rng(0)
    x = tf.constant(20 * draws.normal(size=shape), tf.float32)
    upstream = tf.constant(draws.normal(size=shape), tf.float32)
    results = []
    for normalize in (
        lambda x: fast_operations.local_response_normalization(
            x, radius=4, bias=1.0, alpha=0.001 / 9
        ),
        lambda x: tf.nn.lrn(x, 4, bias=1.0, alpha=0.001 / 9, beta=0.75),
    ):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = normalize(x)
        results.append((y, tape.gradient(y, x, upstream)))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        results[0][0], reference_network.normalize(x.numpy().astype(float)), rtol=1e-5
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_layers_compute_in_the_chosen_type_and_weights_stay_float32(dtype):
    step = Step(dataclasses.replace(QUICK, batch_size=4, compute_dtype=dtype))
    for layer in ("conv1", "conv2", "local3", "local4"):
        activation = step.graph.get_tensor_by_name(f"{layer}/activation:0")
        assert activation.dtype.name == dtype
    with step.graph.as_default():
        assert {v.dtype.base_dtype.name for v in v1.global_variables()} == {"float32", "int64"}
    exact = Step(dataclasses.replace(QUICK, batch_size=4, compute_dtype="float32"))
    assert step.session.run(step.spec.loss) == pytest.approx(
        exact.session.run(exact.spec.loss), rel=0.01
    )
    for name, gradient in step.session.run(step.gradients).items():
        expected = exact.session.run(exact.gradients)[name]
        cosine = (
            np.sum(gradient * expected) / np.linalg.norm(gradient) / np.linalg.norm(expected)
        )
        assert cosine > 0.99, name


def test_small_gradients_survive_float16(monkeypatch):
    """The last layer passes so little back that float16 holds almost nothing of it."""

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
