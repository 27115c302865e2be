import os

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer_module import reference_network
from trainer_module import fast_operations


def test_each_core_gets_a_part_of_at_least_32_images():
    cores = len(os.sched_getaffinity(0))
    assert fast_operations.num_parts(cores * 32) == cores
    assert fast_operations.num_parts(63) == 1
    assert fast_operations.num_parts(4) == 1


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
