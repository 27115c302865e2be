"""The network's operations in forms that are fast on CPUs, each equal to TensorFlow's own.

docs/measurements.md shows what they save; a GPU uses TensorFlow's own where that is better.
"""

import itertools
import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf

_MIN_PART_SIZE = 32  # images; cores are slower with fewer at once
_MANY_CHANNELS = 64  # from here on, `_convolve_wide` is faster


def num_parts(batch_size: int) -> int:
    """Returns how many parts of a training batch are computed in parallel.

    There is one per core: two cores that share every operation wait for each other at its end,
    which makes a step a sixth slower. A GPU computes the whole batch.
    """
    if _has_gpu():
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), batch_size // _MIN_PART_SIZE))


def split(batch: tf.Tensor, parts: int) -> list[tf.Tensor]:
    """Returns a batch in parts of nearly equal size."""
    if parts == 1:
        return [batch]
    bounds = [tf.shape(batch)[0] * part // parts for part in range(parts + 1)]
    return [batch[start:stop] for start, stop in itertools.pairwise(bounds)]


def convolve(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Returns the convolution with stride 1 and padding SAME, in the dtype of `x`."""
    is_wide = int(x.shape[-1]) >= _MANY_CHANNELS
    operation = _convolve_wide if is_wide and not _has_gpu() else _convolve
    return _in_quick_dtype(operation, x, tf.cast(kernel, x.dtype))


def multiply(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Returns the matrix product, in the dtype of `x`."""
    return _in_quick_dtype(tf.matmul, x, tf.cast(kernel, x.dtype))


def max_pool(x: tf.Tensor, size: int, stride: int) -> tf.Tensor:
    """Returns the maximum of each window, with padding SAME."""
    return _in_quick_dtype(lambda x: tf.nn.max_pool2d(x, size, stride, padding="SAME"), x)


def local_response_normalization(
    x: tf.Tensor, radius: int, bias: float, alpha: float
) -> tf.Tensor:
    """Returns x / (bias + alpha · Σ x²)^0.75, the sum over channels at most `radius` away.

    `tf.nn.lrn` takes four times as long for the same result. Here the sum is a product with a
    banded matrix, and the power is rsqrt(s) · sqrt(rsqrt(s)), in float32, since bfloat16 has
    no value between 1 and 1.0078. The gradient reuses both.

    Args:
        x: shape (n, height, width, channels).
        radius: In channels.
        bias: Keeps the sum from 0.
        alpha: Scales the sum.

    Returns:
        The dtype and shape of `x`.
    """
    channels = int(x.shape[-1])
    distance = np.abs(np.subtract.outer(np.arange(channels), np.arange(channels)))
    band = (distance <= radius) * alpha

    def sum_neighbours(values: tf.Tensor, factor: float) -> tf.Tensor:
        kernel = tf.constant(factor * band[None, None], values.dtype)
        return _in_quick_dtype(_convolve, values, kernel)

    @tf.custom_gradient
    def normalize(x: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        root = tf.math.rsqrt(bias + tf.cast(sum_neighbours(tf.square(x), 1.0), tf.float32))
        power = tf.cast(root * tf.sqrt(root), x.dtype)
        inverse = tf.cast(tf.square(root), x.dtype)
        normalized = x * power

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            # The derivative of s^-0.75 is -0.75 · s^-1.75, and that of x² is 2 x.
            neighbours = sum_neighbours(upstream * normalized * inverse, -1.5)
            return upstream * power + x * neighbours

        return normalized, gradient

    return normalize(x)


def _convolve(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return tf.nn.conv2d(x, kernel, strides=1, padding="SAME")


@tf.custom_gradient
def _convolve_wide(x: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Returns the same as `_convolve`, with a faster gradient of the kernel.

    That gradient is also a convolution, of the input with the upstream gradient, where images
    and channels swap roles. With many channels, CPUs compute it faster than TensorFlow's
    operation for it.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x_gradient = tf.nn.conv2d_transpose(
            upstream, kernel, tf.shape(x), strides=1, padding="SAME"
        )
        margin = int(kernel.shape[0]) // 2
        kernel_gradient = tf.nn.conv2d(
            tf.transpose(x, [3, 1, 2, 0]),
            tf.transpose(upstream, [1, 2, 0, 3]),
            strides=1,
            padding=[[0, 0], [margin, margin], [margin, margin], [0, 0]],
        )
        return x_gradient, tf.transpose(kernel_gradient, [1, 2, 0, 3])

    return _convolve(x, kernel), gradient


def _in_quick_dtype(operation: Callable[..., tf.Tensor], *operands: tf.Tensor) -> tf.Tensor:
    """Returns operation(*operands), rounded to the dtype of the operands.

    Most CPUs can store float16 but not compute in it, and TensorFlow's float16 kernels take up
    to 200 times as long there as those for float32. So the rounded values are multiplied and
    summed in float32, as GPUs do within a product, and the result is rounded.
    """
    dtype = operands[0].dtype
    if dtype == tf.float16 and not _has_gpu():
        operands = tuple(tf.cast(operand, tf.float32) for operand in operands)
    return tf.cast(operation(*operands), dtype)


def _has_gpu() -> bool:
    return bool(tf.config.list_logical_devices("GPU"))
