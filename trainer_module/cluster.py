"""Training by several devices or processes: who takes part, and who hands over the model."""

import json
import os
from typing import Any

import tensorflow as tf


def is_cluster() -> bool:
    """Returns whether TF_CONFIG names this process a part of a cluster."""
    return "cluster" in _tf_config()


def is_chief() -> bool:
    """Returns whether this process hands over the model: alone it does, in a cluster one."""
    if not is_cluster():
        return True
    task = _tf_config()["task"]
    chief = "chief" if "chief" in _tf_config()["cluster"] else "worker"
    return bool(task["type"] == chief and int(task["index"]) == 0)


def distribution_strategy(distribution: str) -> tf.distribute.Strategy | None:
    """Returns who shares a batch: the processes of TF_CONFIG, this machine's devices, or None.

    Gradients are averaged over all of them before each update, so the result is that of one
    device with the whole batch.

    Args:
        distribution: `mirrored` for all devices of this machine; TF_CONFIG comes first.
    """
    if is_cluster():
        evaluates = _tf_config()["task"]["type"] == "evaluator"
        return None if evaluates else tf.distribute.MultiWorkerMirroredStrategy()
    if distribution == "mirrored":
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        return tf.distribute.MirroredStrategy(
            [device.name for device in tf.config.list_logical_devices(kind)]
        )
    return None


def _tf_config() -> dict[str, Any]:
    config: dict[str, Any] = json.loads(os.environ.get("TF_CONFIG", "{}"))
    return config
