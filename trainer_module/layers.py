"""The layers of `network.py` in TensorFlow: their weights and their computation."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tensorflow.compat import v1

from trainer_module import fast_operations, summaries
from trainer_module.network import (
    Convolution,
    Dense,
    Layer,
    LocalResponseNormalization,
    MaxPool,
)


def logits_of(
    images: tf.Tensor, layers: Sequence[Layer], compute_dtype: str, parts: int = 1
) -> tf.Tensor:
    """Returns the logits of images.

    Args:
        images: float32, shape (n, height, width, 3), standardized.
        layers: From the image to the logits, the dense ones last.
        compute_dtype: The dtype of the layers' computation; weights and logits are float32.
        parts: How many parts of the batch all but the dense layers compute in parallel; the
            result is the same.

    Returns:
        float32, shape (n, number of classes).
    """
    xs = fast_operations.split(tf.cast(images, tf.as_dtype(compute_dtype)), parts)
    waiting = list(layers)
    while waiting:
        layer = waiting.pop(0)
        after = waiting[0] if waiting else None
        if isinstance(layer, Convolution) and isinstance(after, MaxPool):
            xs = _convolution(layer, xs, pool=after)
            waiting.pop(0)
        elif isinstance(layer, Convolution):
            xs = _convolution(layer, xs)
        elif isinstance(layer, MaxPool):
            xs = [fast_operations.max_pool(x, layer.size, layer.stride) for x in xs]
        elif isinstance(layer, LocalResponseNormalization):
            xs = [_normalization(layer, x) for x in xs]
        else:
            xs = [_dense(layer, _joined_and_flat(xs))]
    return tf.cast(xs[0], tf.float32)


def _convolution(
    layer: Convolution, xs: Sequence[tf.Tensor], pool: MaxPool | None = None
) -> list[tf.Tensor]:
    """Returns the activations of each part of a batch, pooled if a pool is given.

    Adding a bias and relu keep the order of values. So pooling the products first gives the
    same result, with only a quarter of the values left for bias and relu.
    """
    with v1.variable_scope(layer.name):
        channels = int(xs[0].shape[-1])
        shape = [layer.size, layer.size, channels, layer.channels]
        kernel = _weights(shape, layer.stddev, layer.identity)
        biases = tf.cast(_biases(layer.channels, layer.bias), xs[0].dtype)
        products = [fast_operations.convolve(x, kernel) for x in xs]
        activations = [
            tf.nn.relu(tf.nn.bias_add(product, biases), name="activation")
            for product in products
        ]
        summaries.add_activation(activations[0])
        if not pool:
            return activations
        pooled = [fast_operations.max_pool(p, pool.size, pool.stride) for p in products]
        return [tf.nn.relu(tf.nn.bias_add(product, biases)) for product in pooled]


def _normalization(layer: LocalResponseNormalization, x: tf.Tensor) -> tf.Tensor:
    return fast_operations.local_response_normalization(
        x, layer.radius, layer.bias, layer.alpha
    )


def _dense(layer: Dense, x: tf.Tensor) -> tf.Tensor:
    with v1.variable_scope(layer.name):
        kernel = _weights([int(x.shape[-1]), layer.units], layer.stddev)
        biases = tf.cast(_biases(layer.units, layer.bias), x.dtype)
        activate = tf.nn.relu if layer.has_relu else tf.identity
        products = fast_operations.multiply(x, kernel)
        activation = activate(tf.nn.bias_add(products, biases), name="activation")
        summaries.add_activation(activation)
        return activation


def _joined_and_flat(xs: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns the parts joined into one batch, with a row of values for each image."""
    if xs[0].shape.rank == 2:
        return xs[0]
    joined = tf.concat(list(xs), axis=0)
    return tf.reshape(joined, [-1, joined.shape[1:].num_elements()])


def _weights(shape: list[int], stddev: float, identity: float = 0.0) -> tf.Variable:
    """Returns new weights: a truncated normal, and for `identity` that times the identity.

    The identity of a convolution passes each channel on as it is. Source: S. Zagoruyko and N.
    Komodakis, "DiracNets: Training Very Deep Neural Networks Without Skip-Connections" (2017).
    """
    normal = v1.truncated_normal_initializer(stddev=stddev)
    if not identity:
        return v1.get_variable("weights", shape, tf.float32, normal)
    unit = np.zeros(shape, np.float32)
    unit[shape[0] // 2, shape[1] // 2] = np.eye(shape[2], shape[3])

    def initializer(shape: Sequence[int], dtype: tf.DType, **_: object) -> tf.Tensor:
        return normal(shape, dtype=dtype) + identity * unit

    return v1.get_variable("weights", shape, tf.float32, initializer)


def _biases(units: int, value: float) -> tf.Variable:
    return v1.get_variable("biases", [units], tf.float32, v1.constant_initializer(value))
