"""Summaries of layers, weights and losses for TensorBoard."""

from collections.abc import Iterable, Mapping

import tensorflow as tf
from tensorflow.compat import v1

LOSS_AVERAGE_DECAY = 0.9
_SUMMARIZED_IMAGES = 16


def add_activation(activation: tf.Tensor) -> None:
    """Adds the histogram and the sparsity of a layer's output.

    It uses only the first images of a batch: conv1 has 4.7 million values per batch, and one
    core counts a histogram.
    """
    activation = activation[:_SUMMARIZED_IMAGES]
    v1.summary.histogram("activations", tf.cast(activation, tf.float32))
    v1.summary.scalar("sparsity", tf.nn.zero_fraction(activation))


def add_weights(gradients: Iterable[tuple[tf.Tensor, tf.Variable]]) -> None:
    """Adds the histograms of each variable and of its gradient."""
    for gradient, variable in gradients:
        v1.summary.histogram(name_of(variable) + "/values", variable)
        v1.summary.histogram(name_of(variable) + "/gradients", gradient)


def add_losses(losses: Mapping[str, tf.Tensor]) -> tf.Operation:
    """Adds each loss, raw and averaged; returns the op that averages."""
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


def name_of(variable: tf.Variable) -> str:
    """Returns the name of a variable that all replicas share."""
    return variable.name.split(":")[0]
