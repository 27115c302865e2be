"""The role of this process in distributed training, from TF_CONFIG."""

import json
import os
from typing import Any


def is_cluster() -> bool:
    """Returns whether TF_CONFIG makes this process part of a cluster."""
    return "cluster" in _tf_config()


def is_chief() -> bool:
    """Returns whether this process exports the model; in a cluster, only one does."""
    if not is_cluster():
        return True
    task = _tf_config()["task"]
    chief = "chief" if "chief" in _tf_config()["cluster"] else "worker"
    return bool(task["type"] == chief and int(task["index"]) == 0)


def is_evaluator() -> bool:
    """Returns whether this process is the cluster's evaluator."""
    return is_cluster() and bool(_tf_config()["task"]["type"] == "evaluator")


def _tf_config() -> dict[str, Any]:
    config: dict[str, Any] = json.loads(os.environ.get("TF_CONFIG", "{}"))
    return config
