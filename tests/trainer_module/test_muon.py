"""Muon beside the same formula by NumPy's singular value decomposition, in float64."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compat import v1

from trainer_module import model, muon
from trainer_module.hyper_parameters import HyperParameters

MOMENTUM = 0.6
UPDATE_RMS = {"conv1": 0.05, "local4": 0.01}
STEPS = 3
WEIGHT_DECAY = 0.5


def orthogonalized_by_svd(values: np.ndarray, steps: int) -> np.ndarray:
    matrix = values.reshape(-1, values.shape[-1])
    left, singular_values, right = np.linalg.svd(matrix, full_matrices=False)
    s = singular_values / np.sqrt((singular_values**2).sum())
    for _ in range(steps):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return ((left * s) @ right).reshape(values.shape)


@pytest.mark.parametrize("shape", [(5, 5, 3, 64), (5, 5, 64, 64), (384, 192), (4, 12), (7, 7)])
@pytest.mark.parametrize("steps", [1, 3, 5])
def test_newton_schulz_takes_each_singular_value_along_its_polynomial(shape, steps):
    values = np.random.default_rng(0).normal(size=shape)
    found = muon.orthogonalized(tf.constant(values, tf.float32), steps)
    np.testing.assert_allclose(found, orthogonalized_by_svd(values, steps), atol=2e-5)


def test_directions_of_a_thousandth_come_out_nearly_as_long_as_the_longest():
    left, _, right = np.linalg.svd(np.random.default_rng(0).normal(size=(8, 8)))
    values = left * np.array([1, 1, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001]) @ right
    found = muon.orthogonalized(tf.constant(values, tf.float32), steps=8).numpy()
    lengths = np.linalg.svd(found, compute_uv=False)
    assert 0.6 < lengths.min() < lengths.max() < 1.25


def test_kernels_of_its_layers_move_by_the_formula_and_all_else_by_momentum():
    shapes = {
        "conv1/weights": (5, 5, 3, 64),
        "conv1/biases": (64,),
        "local3/weights": (9, 4),
        "local4/weights": (12, 9),
    }
    draws = np.random.default_rng(0)
    starts = {name: draws.normal(size=shape) for name, shape in shapes.items()}
    gradients = [
        {name: draws.normal(size=shape) for name, shape in shapes.items()} for _ in range(3)
    ]
    rates = [0.1, 0.05, 0.02]
    found = weights_after(starts, gradients, rates, WEIGHT_DECAY)

    for name, expected in starts.items():
        momentum = np.zeros_like(expected)
        for gradient, rate in zip(gradients, rates, strict=True):
            if name in ("conv1/weights", "local4/weights"):
                momentum = MOMENTUM * momentum + gradient[name]
                nesterov = gradient[name] + MOMENTUM * momentum
                update = orthogonalized_by_svd(nesterov, STEPS)
                update *= UPDATE_RMS[name.split("/")[0]] / np.sqrt((update**2).mean())
                update += WEIGHT_DECAY * expected
            else:
                update = momentum = 0.9 * momentum + gradient[name]
            expected = expected - rate * update
        np.testing.assert_allclose(found[name], expected, atol=1e-5, err_msg=name)


def weights_after(
    starts: dict[str, np.ndarray],
    gradients: list[dict[str, np.ndarray]],
    rates: list[float],
    decay: float,
) -> dict[str, np.ndarray]:
    with tf.Graph().as_default(), v1.Session() as session:
        variables = {
            name: v1.get_variable(name, initializer=value.astype(np.float32))
            for name, value in starts.items()
        }
        given = {name: v1.placeholder(tf.float32, v.shape) for name, v in variables.items()}
        rate = v1.placeholder(tf.float32, [])
        optimizer = muon.MuonOptimizer(rate, 0.9, UPDATE_RMS, MOMENTUM, STEPS, decay)
        update = optimizer.apply_gradients([(given[name], variables[name]) for name in starts])
        session.run(v1.global_variables_initializer())
        for gradient, at_rate in zip(gradients, rates, strict=True):
            fed = {given[name]: values for name, values in gradient.items()}
            session.run(update, {**fed, rate: at_rate})
        return session.run(variables)


def test_a_gradient_of_zeros_moves_nothing():
    start = {"conv1/weights": np.ones((5, 5, 3, 64))}
    found = weights_after(start, [{"conv1/weights": np.zeros((5, 5, 3, 64))}], [0.1], decay=0.0)
    np.testing.assert_array_equal(found["conv1/weights"], start["conv1/weights"])


def test_dense_layers_move_by_a_size_of_their_own():
    hyper_parameters = HyperParameters(
        muon_layers="conv2+local3", muon_update_rms=0.05, muon_dense_update_rms=0.01
    )
    assert model.muon_layers_of(hyper_parameters) == {"conv2": 0.05, "local3": 0.01}
