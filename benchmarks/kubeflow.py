"""The compiled pipeline, step by step, beside the same nodes in one local process.

Each step of the compiled pipeline is a process with a file system of its own and its
artifacts in an S3 server, as on a cluster (tests/kubeflow/backend.py); images are not pulled
and pods are not scheduled here. Both runs train preset smoke on the bundled sample.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

MAX_START_UP_SECONDS = 15.0
MAX_TOTAL_RATIO = 2.5
# One at a time: two that start at once share this machine's cores, on a cluster they do not.
PARALLEL_STEPS = 1


def main(json_output: bool) -> int:
    """Measures, prints, and returns 1 if a target was missed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        local = run_locally(Path(folder) / "local")
        steps, total = run_compiled(Path(folder) / "cluster")
    seconds = {name: facts["seconds"] for name, facts in local["stages"].items()}
    start_up = max(step["seconds"] - seconds[name] for name, step in steps.items())
    result = {
        "cores": os.cpu_count(),
        "steps": {
            name: step | {"local_seconds": seconds[name]} for name, step in steps.items()
        },
        "max_start_up_seconds": round(start_up, 1),
        "total_seconds": round(total, 1),
        "local_total_seconds": local["seconds"],
        "total_ratio": round(total / local["seconds"], 2),
        "targets": {
            f"start-up of a step under {MAX_START_UP_SECONDS:.0f} s": (
                start_up < MAX_START_UP_SECONDS
            ),
            f"total under {MAX_TOTAL_RATIO} times the local run": (
                total < MAX_TOTAL_RATIO * local["seconds"]
            ),
        },
    }
    print(json.dumps(result, indent=2) if json_output else as_text(result))
    return 0 if all(result["targets"].values()) else 1


def run_locally(output: Path) -> dict[str, Any]:
    """Returns the record of a local run, its seconds those of the whole command."""
    cifar = str(Path(sys.executable).with_name("cifar"))
    command = [cifar, "run", "--preset", "smoke", "--data", "sample", "--output", str(output)]
    started = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - started
    record: dict[str, Any] = json.loads((output / "run.json").read_text())
    return record | {"seconds": round(seconds, 1)}


def run_compiled(folder: Path) -> tuple[dict[str, dict[str, float]], float]:
    """Returns seconds and memory of each step, and the seconds of the whole run."""
    import yaml

    from kubeflow.cluster import Cluster
    from kubeflow.compile import compile_pipeline
    from kubeflow.parameters import RunParameters
    from tests.kubeflow import object_store
    from tests.kubeflow.backend import Backend

    documents = compile_pipeline("registry.test/cifar:1", Cluster(), RunParameters("smoke"))
    (folder / "s3").mkdir(parents=True)
    with object_store.serve(folder / "s3", "mlpipeline") as store:
        backend = Backend(store, folder, PARALLEL_STEPS)
        started = time.monotonic()
        steps = backend.run(yaml.safe_dump_all(documents))
        total = time.monotonic() - started
    return {
        name: {
            "seconds": round(step.seconds, 1),
            "peak_memory_mib": round(step.peak_memory_mib),
        }
        for name, step in steps.items()
    }, total


def as_text(result: dict[str, Any]) -> str:
    """Returns the result as a table."""
    lines = [f"{'step':<18} {'seconds':>8} {'local':>8} {'memory':>10}"]
    lines += [
        f"{name:<18} {step['seconds']:8.1f} {step['local_seconds']:8.1f} "
        f"{step['peak_memory_mib']:6.0f} MiB"
        for name, step in result["steps"].items()
    ]
    lines.append(
        f"{'total':<18} {result['total_seconds']:8.1f} {result['local_total_seconds']:8.1f}   "
        f"({result['total_ratio']} times)"
    )
    lines += [
        f"{'kept' if kept else 'MISSED'}  {target}"
        for target, kept in result["targets"].items()
    ]
    return "\n".join(lines)
