"""model_fn: the network, its loss, one training step and the averaged weights."""

import dataclasses
import itertools
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.compat import v1

from contract.features import CLASS_NAMES, NUM_CLASSES, STANDARDIZED_IMAGE
from pipeline_def.config import PipelineConfig

LOSS_AVERAGE_DECAY = 0.9
# Gradients below 6e-8 vanish in float16: scaled up on the way back, scaled down for the update.
FLOAT16_LOSS_SCALE = 1024.0

_LRN_RADIUS = 4
_LRN_BIAS = 1.0
_LRN_ALPHA = 0.001 / 9.0
_CHANNELS = 64
_SUMMARIZED_IMAGES = 16
_MIN_PART_SIZE = 32  # images; a core that takes fewer at once is slower


def model_fn(
    features: dict[str, tf.Tensor], labels: tf.Tensor, mode: str, params: dict[str, Any]
) -> tf.estimator.EstimatorSpec:
    """Returns what the Estimator runs in a mode.

    Args:
        features: `standardized_image`, float32, shape (n, 24, 24, 3).
        labels: int64, shape (n,); None in PREDICT.
        mode: A key of `tf.estimator.ModeKeys`.
        params: `config`, a PipelineConfig, and `num_train_examples`, which an epoch is.
    """
    config = params["config"]
    if mode != tf.estimator.ModeKeys.TRAIN:
        # The weights are float32 whatever training computed in, and so is what is judged and
        # served: any CPU computes it alike, and probabilities are not rounded to 8 bits.
        config = dataclasses.replace(config, compute_dtype="float32")
    training = mode == tf.estimator.ModeKeys.TRAIN
    parts = num_parts(config.batch_size) if training else 1
    logits = infer(features[STANDARDIZED_IMAGE], config, parts)
    if training:
        v1.summary.image("images", features[STANDARDIZED_IMAGE], max_outputs=8)
        losses = losses_of(logits, labels, config)
        train_op = train(losses, params["num_train_examples"], config)
        return tf.estimator.EstimatorSpec(mode, loss=losses["total_loss"], train_op=train_op)

    saver = v1.train.Saver(weight_averages(config).variables_to_restore())
    scaffold = v1.train.Scaffold(saver=saver)
    predictions = predictions_of(logits)
    if mode == tf.estimator.ModeKeys.PREDICT:
        return tf.estimator.EstimatorSpec(
            mode,
            predictions=predictions,
            export_outputs=export_outputs_of(predictions),
            scaffold=scaffold,
        )
    losses = losses_of(logits, labels, config)
    accuracy = v1.metrics.accuracy(labels, predictions["class_ids"])
    return tf.estimator.EstimatorSpec(
        mode,
        loss=losses["cross_entropy"],
        eval_metric_ops={"accuracy": accuracy},
        scaffold=scaffold,
    )


def infer(images: tf.Tensor, config: PipelineConfig, parts: int = 1) -> tf.Tensor:
    """Returns the logits of images.

    Args:
        images: float32, shape (n, 24, 24, 3), standardized.
        config: `compute_dtype` is what layers compute in; weights and logits are float32.
        parts: How many parts of the batch the convolutional layers take side by side. What
            they compute is the same.

    Returns:
        float32, shape (n, 10).
    """
    x = tf.cast(images, tf.as_dtype(config.compute_dtype))
    xs = [x]
    if parts > 1:
        bounds = [tf.shape(x)[0] * part // parts for part in range(parts + 1)]
        xs = [x[start:stop] for start, stop in itertools.pairwise(bounds)]
    xs = _convolution("conv1", xs, config.conv_stddev, bias=0.0, pool_first=True)
    xs = [local_response_normalization(x) for x in xs]
    xs = _convolution("conv2", xs, config.conv_stddev, bias=0.1, pool_first=False)
    x = tf.concat([_max_pool(local_response_normalization(x)) for x in xs], axis=0)
    x = tf.reshape(x, [-1, int(x.shape[1]) * int(x.shape[2]) * int(x.shape[3])])
    x = _dense("local3", x, 384, stddev=0.04, bias=0.1, activate=tf.nn.relu)
    x = _dense("local4", x, 192, stddev=0.04, bias=0.1, activate=tf.nn.relu)
    x = _dense("softmax_linear", x, NUM_CLASSES, stddev=1 / 192, bias=0.0, activate=tf.identity)
    return tf.cast(x, tf.float32)


def num_parts(batch_size: int) -> int:
    """Returns how many parts of a training batch are computed side by side.

    One for each core: two cores that share every operation wait for each other at its end, and
    a step takes a sixth longer. A GPU takes the batch whole.
    """
    if _has_gpu():
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), batch_size // _MIN_PART_SIZE))


@tf.custom_gradient
def local_response_normalization(x: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Returns x / (1 + alpha · Σ x²)^0.75, the sum over channels at most 4 away.

    `tf.nn.lrn` computes the same in four times the time. Here the sum is a product with a
    banded matrix, and the power rsqrt(s) · sqrt(rsqrt(s)), in float32 since bfloat16 holds
    nothing between 1 and 1.0078. The gradient reuses both.

    Args:
        x: shape (n, height, width, channels).

    Returns:
        The dtype and shape of `x`.
    """
    channels = int(x.shape[-1])
    distance = np.abs(np.subtract.outer(np.arange(channels), np.arange(channels)))
    band = (distance <= _LRN_RADIUS) * _LRN_ALPHA

    def sum_neighbours(values: tf.Tensor, factor: float) -> tf.Tensor:
        kernel = tf.constant(factor * band[None, None], values.dtype)
        return _computed(_convolve_plainly, values, kernel)

    root = tf.math.rsqrt(1.0 + tf.cast(sum_neighbours(tf.square(x), 1.0), tf.float32))
    power = tf.cast(root * tf.sqrt(root), x.dtype)
    inverse = tf.cast(tf.square(root), x.dtype)
    normalized = x * power

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        # The derivative of s^-0.75 is -0.75 · s^-1.75, and that of x² is 2 x.
        neighbours = sum_neighbours(upstream * normalized * inverse, -1.5)
        return upstream * power + x * neighbours

    return normalized, gradient


def losses_of(
    logits: tf.Tensor, labels: tf.Tensor, config: PipelineConfig
) -> dict[str, tf.Tensor]:
    """Returns each part of the loss, and their sum as `total_loss`; float32 scalars."""
    cross_entropies = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    losses = {"cross_entropy": tf.reduce_mean(cross_entropies)}
    for variable in v1.trainable_variables():
        layer, kind = _name_of(variable).split("/")
        if kind == "weights" and layer in ("local3", "local4"):
            losses[f"{layer}/weight_loss"] = config.weight_decay * tf.nn.l2_loss(variable)
    losses["total_loss"] = tf.add_n(list(losses.values()))
    return losses


def train(
    losses: dict[str, tf.Tensor], num_train_examples: int, config: PipelineConfig
) -> tf.Operation:
    """Returns the op of one training step: update, then the averages of the new weights."""
    step = v1.train.get_or_create_global_step()
    learning_rate = v1.train.exponential_decay(
        config.learning_rate,
        step,
        decay_steps=max(
            1, int(config.epochs_per_decay * num_train_examples / config.batch_size)
        ),
        decay_rate=config.learning_rate_decay_factor,
        staircase=config.decay_staircase,
    )
    v1.summary.scalar("learning_rate", learning_rate)
    optimizer: v1.train.Optimizer
    if config.optimizer == "momentum":
        optimizer = v1.train.MomentumOptimizer(learning_rate, config.momentum)
    else:
        optimizer = v1.train.GradientDescentOptimizer(learning_rate)

    scale = FLOAT16_LOSS_SCALE if config.compute_dtype == "float16" else 1.0
    gradients = [
        (gradient / scale, variable)
        for gradient, variable in optimizer.compute_gradients(losses["total_loss"] * scale)
    ]
    for gradient, variable in gradients:
        v1.summary.histogram(_name_of(variable) + "/values", variable)
        v1.summary.histogram(_name_of(variable) + "/gradients", gradient)

    update = optimizer.apply_gradients(gradients, global_step=step)
    with tf.control_dependencies([update]):
        averaged_weights = weight_averages(config).apply(v1.trainable_variables())
    return tf.group(averaged_weights, _summarize_losses(losses))


def weight_averages(config: PipelineConfig) -> tf.train.ExponentialMovingAverage:
    """Returns the moving average of the weights, quicker during the first steps."""
    step = v1.train.get_or_create_global_step()
    return tf.train.ExponentialMovingAverage(config.ema_decay, num_updates=step)


def predictions_of(logits: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns `probabilities` (n, 10), `class_ids` (n,) and `classes` (n,), the names."""
    class_ids = tf.argmax(logits, axis=1)
    return {
        "probabilities": tf.nn.softmax(logits),
        "class_ids": class_ids,
        "classes": tf.gather(tf.constant(CLASS_NAMES), class_ids),
    }


def export_outputs_of(
    predictions: dict[str, tf.Tensor],
) -> dict[str, tf.estimator.export.ExportOutput]:
    """Returns what signatures give back: the predictions, or every class with its score."""
    scores = predictions["probabilities"]
    all_classes = tf.tile(tf.constant([CLASS_NAMES]), [tf.shape(scores)[0], 1])
    return {
        "serving_default": tf.estimator.export.PredictOutput(predictions),
        "classify": tf.estimator.export.ClassificationOutput(scores, all_classes),
    }


def _convolution(
    name: str, xs: list[tf.Tensor], stddev: float, bias: float, pool_first: bool
) -> list[tf.Tensor]:
    """Returns relu(5×5 convolution to 64 channels + biases) of each part of a batch.

    With `pool_first` they are pooled too. Adding a bias and relu keep the order of values. So
    pooling the bare products gives what pooling the activations would, and leaves a quarter of
    the values to add and cut.
    """
    with v1.variable_scope(name):
        kernel = _weights([5, 5, int(xs[0].shape[-1]), _CHANNELS], stddev)
        biases = tf.cast(_biases(_CHANNELS, bias), xs[0].dtype)
        products = [_convolve(x, kernel) for x in xs]
        activations = [
            tf.nn.relu(tf.nn.bias_add(product, biases), name="activation")
            for product in products
        ]
        _summarize_activation(activations[0])
        if pool_first:
            pooled = [_max_pool(product) for product in products]
            return [tf.nn.relu(tf.nn.bias_add(product, biases)) for product in pooled]
        return activations


def _convolve(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Returns the convolution with stride 1 and padding SAME, in the dtype of `x`."""
    is_wide = int(x.shape[-1]) == _CHANNELS
    convolve = _convolve_wide if is_wide and not _has_gpu() else _convolve_plainly
    return _computed(convolve, x, tf.cast(kernel, x.dtype))


def _convolve_plainly(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return tf.nn.conv2d(x, kernel, strides=1, padding="SAME")


@tf.custom_gradient
def _convolve_wide(x: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Returns what `_convolve_plainly` does; the kernel's gradient takes less time.

    That gradient is a convolution too, of the input with the upstream gradient: images take
    the part of channels, channels that of images. CPUs are quicker at it than at the operation
    TensorFlow has for it, if there are many channels.
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

    return _convolve_plainly(x, kernel), gradient


def _max_pool(x: tf.Tensor) -> tf.Tensor:
    return _computed(lambda x: tf.nn.max_pool2d(x, ksize=3, strides=2, padding="SAME"), x)


def _computed(operation: Callable[..., tf.Tensor], *operands: tf.Tensor) -> tf.Tensor:
    """Returns operation(*operands) in the dtype of the operands.

    Most CPUs store float16 but do not compute in it, and TensorFlow's kernels for it take up
    to 200 times as long there as those for float32. So, as GPUs do within a product, the
    rounded values are multiplied and summed in float32, and the result is rounded.
    """
    dtype = operands[0].dtype
    if dtype == tf.float16 and not _has_gpu():
        operands = tuple(tf.cast(operand, tf.float32) for operand in operands)
    return tf.cast(operation(*operands), dtype)


def _has_gpu() -> bool:
    return bool(tf.config.list_logical_devices("GPU"))


def _dense(
    name: str,
    x: tf.Tensor,
    units: int,
    stddev: float,
    bias: float,
    activate: Callable[..., tf.Tensor],
) -> tf.Tensor:
    """Returns activate(x · weights + biases), shape (n, units)."""
    with v1.variable_scope(name):
        kernel = _weights([int(x.shape[-1]), units], stddev)
        biases = tf.cast(_biases(units, bias), x.dtype)
        products = _computed(tf.matmul, x, tf.cast(kernel, x.dtype))
        activation = activate(tf.nn.bias_add(products, biases), name="activation")
        _summarize_activation(activation)
        return activation


def _weights(shape: list[int], stddev: float) -> tf.Variable:
    initializer = v1.truncated_normal_initializer(stddev=stddev)
    return v1.get_variable("weights", shape, tf.float32, initializer)


def _biases(units: int, value: float) -> tf.Variable:
    return v1.get_variable("biases", [units], tf.float32, v1.constant_initializer(value))


def _name_of(variable: tf.Variable) -> str:
    """Returns the name every replica knows a variable by."""
    return variable.name.split(":")[0]


def _summarize_activation(activation: tf.Tensor) -> None:
    """Adds the histogram and the sparsity of a layer's output to the summaries.

    The first images of a batch stand for all: a batch of conv1 has 4.7 million values, and a
    histogram is counted by one core.
    """
    activation = activation[:_SUMMARIZED_IMAGES]
    v1.summary.histogram("activations", tf.cast(activation, tf.float32))
    v1.summary.scalar("sparsity", tf.nn.zero_fraction(activation))


def _summarize_losses(losses: dict[str, tf.Tensor]) -> tf.Operation:
    """Adds each loss, raw and averaged, to the summaries; returns the op that averages."""
    updates = []
    for name, loss in losses.items():
        average = v1.get_variable(
            f"{name}/average",
            shape=[],
            initializer=v1.zeros_initializer(),
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.MEAN,
        )
        updates.append(average.assign_sub((1 - LOSS_AVERAGE_DECAY) * (average - loss)))
        v1.summary.scalar(f"{name}/raw", loss)
        v1.summary.scalar(f"{name}/averaged", average)
    return tf.group(*updates)
