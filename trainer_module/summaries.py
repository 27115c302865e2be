"""Summaries of layers, weights and losses for TensorBoard."""

from collections.abc import Iterable, Mapping

import tensorflow as tf
from tensorflow.compat import v1

AVERAGE_DECAY = 0.9  # of the running averages of losses and accuracy
CURVES = "curves"  # the scalars that are written with each line of progress
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


def add_curve(name: str, value: tf.Tensor) -> None:
    """Adds a scalar to the summaries, and to those that LogHook writes more often."""
    v1.summary.scalar(name, value, collections=[v1.GraphKeys.SUMMARIES, CURVES])


def add_curves(values: Mapping[str, tf.Tensor]) -> tf.Operation:
    """Adds each value of a step, raw and averaged; returns the op that averages."""
    updates = []
    for name, value in values.items():
        average = v1.get_variable(
            f"{name}/average",
            shape=[],
            initializer=v1.zeros_initializer(),
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.MEAN,
        )
        updates.append(average.assign_sub((1 - AVERAGE_DECAY) * (average - value)))
        add_curve(f"{name}/raw", value)
        add_curve(f"{name}/averaged", average)
    return tf.group(*updates)


def name_of(variable: tf.Variable) -> str:
    """Returns the name of a variable that all replicas share."""
    return variable.name.split(":")[0]
