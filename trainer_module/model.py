"""model_fn: the network, its loss, one training step and the averaged weights."""

from typing import Any

import tensorflow as tf
from tensorflow.compat import v1

from pipeline_def.config import PipelineConfig
from trainer_module.features import CLASS_NAMES, NUM_CLASSES, STANDARDIZED_IMAGE

LOSS_AVERAGE_DECAY = 0.9
# Gradients below 6e-8 vanish in float16: scaled up on the way back, scaled down for the update.
FLOAT16_LOSS_SCALE = 1024.0

_LRN_RADIUS = 4
_LRN_BIAS = 1.0
_LRN_ALPHA = 0.001 / 9.0
_CHANNELS = 64


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
    logits = infer(features[STANDARDIZED_IMAGE], config)
    if mode == tf.estimator.ModeKeys.TRAIN:
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


def infer(images: tf.Tensor, config: PipelineConfig) -> tf.Tensor:
    """Returns the logits of images.

    Args:
        images: float32, shape (n, 24, 24, 3), standardized.
        config: `compute_dtype` is what layers compute in; weights and logits are float32.

    Returns:
        float32, shape (n, 10).
    """
    dtype = tf.as_dtype(config.compute_dtype)
    x = tf.cast(images, dtype)
    x = _convolution("conv1", x, config.conv_stddev, bias=0.0)
    x = tf.nn.max_pool2d(x, ksize=3, strides=2, padding="SAME", name="pool1")
    x = local_response_normalization(x, name="norm1")
    x = _convolution("conv2", x, config.conv_stddev, bias=0.1)
    x = local_response_normalization(x, name="norm2")
    x = tf.nn.max_pool2d(x, ksize=3, strides=2, padding="SAME", name="pool2")
    x = tf.reshape(x, [-1, int(x.shape[1]) * int(x.shape[2]) * int(x.shape[3])])
    x = _summarize_activation(tf.nn.relu(_dense("local3", x, 384, stddev=0.04, bias=0.1)))
    x = _summarize_activation(tf.nn.relu(_dense("local4", x, 192, stddev=0.04, bias=0.1)))
    logits = _dense("softmax_linear", x, NUM_CLASSES, stddev=1 / 192, bias=0.0)
    return _summarize_activation(tf.cast(logits, tf.float32))


def local_response_normalization(x: tf.Tensor, name: str) -> tf.Tensor:
    """Returns x / (1 + alpha · Σ x²)^0.75, the sum over channels at most 4 away.

    `tf.nn.lrn` computes the same. The sum as a product with a banded matrix, and the power as
    rsqrt(s) · sqrt(rsqrt(s)), take about half its time on a CPU.
    """
    with tf.name_scope(name):
        channels = int(x.shape[-1])
        ones = tf.ones([channels, channels], x.dtype)
        band = _LRN_ALPHA * tf.cast(
            tf.linalg.band_part(ones, _LRN_RADIUS, _LRN_RADIUS), x.dtype
        )
        sums = tf.nn.conv2d(tf.square(x), band[None, None], strides=1, padding="VALID")
        root = tf.math.rsqrt(sums + tf.cast(_LRN_BIAS, x.dtype))
        return x * (root * tf.sqrt(root))


def losses_of(
    logits: tf.Tensor, labels: tf.Tensor, config: PipelineConfig
) -> dict[str, tf.Tensor]:
    """Returns each part of the loss, and their sum as `total_loss`; float32 scalars."""
    cross_entropies = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    losses = {"cross_entropy": tf.reduce_mean(cross_entropies)}
    for variable in v1.trainable_variables():
        if variable.op.name in ("local3/weights", "local4/weights"):
            name = variable.op.name.replace("weights", "weight_loss")
            losses[name] = config.weight_decay * tf.nn.l2_loss(variable)
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
        decay_steps=int(config.epochs_per_decay * num_train_examples / config.batch_size),
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
        v1.summary.histogram(variable.op.name, variable)
        v1.summary.histogram(variable.op.name + "/gradients", gradient)

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


def _convolution(name: str, x: tf.Tensor, stddev: float, bias: float) -> tf.Tensor:
    """Returns relu(5×5 convolution to 64 channels + bias)."""
    with v1.variable_scope(name):
        kernel = _weights([5, 5, int(x.shape[-1]), _CHANNELS], stddev)
        product = tf.nn.conv2d(x, tf.cast(kernel, x.dtype), strides=1, padding="SAME")
        biased = tf.nn.bias_add(product, tf.cast(_biases(_CHANNELS, bias), x.dtype))
        return _summarize_activation(tf.nn.relu(biased, name=name))


def _dense(name: str, x: tf.Tensor, units: int, stddev: float, bias: float) -> tf.Tensor:
    """Returns x · weights + biases, shape (n, units)."""
    with v1.variable_scope(name):
        kernel = _weights([int(x.shape[-1]), units], stddev)
        product = tf.matmul(x, tf.cast(kernel, x.dtype))
        return tf.nn.bias_add(product, tf.cast(_biases(units, bias), x.dtype), name=name)


def _weights(shape: list[int], stddev: float) -> tf.Variable:
    initializer = v1.truncated_normal_initializer(stddev=stddev)
    return v1.get_variable("weights", shape, tf.float32, initializer)


def _biases(units: int, value: float) -> tf.Variable:
    return v1.get_variable("biases", [units], tf.float32, v1.constant_initializer(value))


def _summarize_activation(x: tf.Tensor) -> tf.Tensor:
    """Adds the histogram and the sparsity of a layer's output to the summaries; returns it."""
    name = x.op.name
    v1.summary.histogram(f"{name}/activations", tf.cast(x, tf.float32))
    v1.summary.scalar(f"{name}/sparsity", tf.nn.zero_fraction(x))
    return x


def _summarize_losses(losses: dict[str, tf.Tensor]) -> tf.Operation:
    """Adds each loss, raw and averaged, to the summaries; returns the op that averages."""
    averages = tf.train.ExponentialMovingAverage(LOSS_AVERAGE_DECAY, name="average")
    update = averages.apply(list(losses.values()))
    for name, loss in losses.items():
        v1.summary.scalar(f"{name}/raw", loss)
        v1.summary.scalar(f"{name}/averaged", averages.average(loss))
    return update
