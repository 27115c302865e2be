"""Calls Kubeflow Pipelines' code on an uploaded file; `make test-kubeflow` builds it."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline_def.code_version import ROOT

BINARIES = ROOT / ".cache/kfp"
NAMESPACE = "kubeflow"


class RefusedError(Exception):
    """Kubeflow Pipelines' code ended with an error; its message is the text."""


def compile_run(text: str, run_id: str, **parameters: Any) -> dict[str, Any]:
    """Returns the Argo Workflow of a run, from the file as uploaded and the run's parameters.

    Raises:
        RefusedError: The API server rejects the file or the parameters.
    """
    command = ("workflow", run_id, NAMESPACE, json.dumps(parameters))
    workflow: dict[str, Any] = json.loads(call(*command, given=text))
    return workflow


def patch_pod(spec: Mapping[str, Any], patch: str) -> dict[str, Any]:
    """Returns a pod's spec with the driver's patch applied as Argo does."""
    patched: dict[str, Any] = json.loads(call("patch", patch, given=json.dumps(spec)))
    return patched


def call(*arguments: str, given: str) -> str:
    """Runs one command of backend/main.go; returns what it prints."""
    done = subprocess.run(
        [binary("backend"), *arguments], input=given, capture_output=True, text=True
    )
    if done.returncode:
        raise RefusedError(done.stderr)
    return done.stdout


def binary(name: str) -> Path:
    """Returns the path of a command.

    Raises:
        FileNotFoundError: It is not built.
    """
    path = BINARIES / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not built: `make test-kubeflow` builds it.")
    return path
