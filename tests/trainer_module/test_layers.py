import dataclasses
import re

import numpy as np
import pytest
from tensorflow.compat import v1

from tests.trainer_module import reference_network
from tests.trainer_module.one_step import CONFIG, Step
from trainer_module import fast_operations
from trainer_module.hyper_parameters import QUICK


@pytest.fixture(scope="module")
def step() -> Step:
    return Step(CONFIG)


def test_activations_are_those_of_the_classic_network(step):
    expected = reference_network.activations(step.images.astype(float), step.weights())
    for layer, values in expected.items():
        found = step.session.run(step.graph.get_tensor_by_name(f"{layer}/activation:0"))
        np.testing.assert_allclose(found, values, rtol=1e-4, atol=1e-5, err_msg=layer)


def test_conv2_starts_with_each_channel_passed_on(step):
    plain = step.weights()
    passed_on = Step(dataclasses.replace(CONFIG, conv_identity=0.5)).weights()
    centre = np.diagonal(passed_on["conv2/weights"][2, 2])
    assert abs(centre.mean() - 0.5) < 5 * 0.05 / np.sqrt(64)
    for name, weights in passed_on.items():
        values = weights - 0.5 * unit_kernel(weights) if name == "conv2/weights" else weights
        assert values.mean() == pytest.approx(plain[name].mean(), abs=5e-3)
        assert values.std() == pytest.approx(plain[name].std(), abs=5e-3)


def unit_kernel(weights: np.ndarray) -> np.ndarray:
    """Returns the kernel whose convolution changes nothing."""
    kernel = np.zeros_like(weights)
    for channel in range(kernel.shape[3]):
        kernel[2, 2, channel, channel] = 1
    return kernel


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
