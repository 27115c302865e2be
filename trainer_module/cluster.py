"""Distributed training: which devices or processes share a batch."""

import tensorflow as tf

from contract.cluster import is_cluster, is_evaluator


def distribution_strategy(distribution: str) -> tf.distribute.Strategy | None:
    """Returns the strategy for TF_CONFIG's processes or this machine's devices, or None.

    Gradients are averaged over all of them before each update, so the result equals that of
    one device with the whole batch.

    Args:
        distribution: `mirrored` for all devices of this machine; TF_CONFIG takes precedence.
    """
    if is_cluster():
        return None if is_evaluator() else tf.distribute.MultiWorkerMirroredStrategy()
    if distribution == "mirrored":
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        return tf.distribute.MirroredStrategy(
            [device.name for device in tf.config.list_logical_devices(kind)]
        )
    return None
