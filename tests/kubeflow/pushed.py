"""Checks of a pushed model, for any runner."""

from pathlib import Path

import numpy as np
import requests

from data_sources.dataset import SAMPLE_DIR
from serving.model_server.process import ServerProcess


def served_accuracy(version: Path) -> float:
    """Returns how many of the sample's test images a server of this model gets right."""
    records = np.fromfile(SAMPLE_DIR / "test_batch.bin", np.uint8).reshape(-1, 3073)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    flags = ("--model_name=cifar10", f"--model_base_path={version.parent}")
    with ServerProcess(*flags) as server:
        reply = requests.post(
            f"{server.rest_url}/v1/models/cifar10/versions/{version.name}:predict",
            json={"instances": images.tolist()},
        )
    predicted = [prediction["class_ids"] for prediction in reply.json()["predictions"]]
    return float(np.mean(predicted == records[:, 0]))
