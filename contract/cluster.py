"""Which part this process has in a training by several: TF_CONFIG says it."""

import json
import os
from typing import Any


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


def is_evaluator() -> bool:
    """Returns whether this process of a cluster evaluates what the others train."""
    return is_cluster() and bool(_tf_config()["task"]["type"] == "evaluator")


def _tf_config() -> dict[str, Any]:
    config: dict[str, Any] = json.loads(os.environ.get("TF_CONFIG", "{}"))
    return config
