"""The compiled pipeline, step by step, beside the same nodes in one local process.

Each step of the compiled pipeline is a process with a file system of its own and its
artifacts in an S3 server, as on a cluster (tests/kubeflow/backend.py); images are not pulled
and pods are not scheduled here. Steps that do not wait for each other run side by side, as on
a cluster, but share this machine's cores. Both runs train preset smoke on the bundled sample,
in turn, a few times over; what is told of a step is its median.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

MAX_START_UP_SECONDS = 15.0
MAX_TOTAL_RATIO = 2.5
ROUNDS = 3


def main(json_output: bool) -> int:
    """Measures, prints, and returns 1 if a target was missed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore")
    local, compiled = [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            local.append(run_locally(Path(folder) / "local"))
            compiled.append(run_compiled(Path(folder) / "cluster"))
    steps = {
        name: {
            key: statistics.median(run["steps"][name][key] for run in compiled) for key in step
        }
        | {"local_seconds": statistics.median(run["steps"][name] for run in local)}
        for name, step in compiled[0]["steps"].items()
    }
    start_up = max(step["seconds"] - step["local_seconds"] for step in steps.values())
    ratio = statistics.median(
        there["seconds"] / here["seconds"] for here, there in zip(local, compiled, strict=True)
    )
    result = {
        "cores": os.cpu_count(),
        "rounds": ROUNDS,
        "steps": steps,
        "max_start_up_seconds": round(start_up, 1),
        "total_seconds": [run["seconds"] for run in compiled],
        "local_total_seconds": [run["seconds"] for run in local],
        "total_ratio": round(ratio, 2),
        "targets": {
            f"start-up of a step under {MAX_START_UP_SECONDS:.0f} s": (
                start_up < MAX_START_UP_SECONDS
            ),
            f"total under {MAX_TOTAL_RATIO} times the local run": ratio < MAX_TOTAL_RATIO,
        },
    }
    print(json.dumps(result, indent=2) if json_output else as_text(result))
    return 0 if all(result["targets"].values()) else 1


def run_locally(output: Path) -> dict[str, Any]:
    """Returns the seconds of a local run, those of the whole command, and of its steps."""
    cifar = str(Path(sys.executable).with_name("cifar"))
    command = [cifar, "run", "--preset", "smoke", "--data", "sample", "--output", str(output)]
    started = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = round(time.monotonic() - started, 1)
    stages = json.loads((output / "run.json").read_text())["stages"]
    return {
        "seconds": seconds,
        "steps": {name: facts["seconds"] for name, facts in stages.items()},
    }


def run_compiled(folder: Path) -> dict[str, Any]:
    """Returns the seconds of a run of the compiled pipeline, and its steps' and memory."""
    import yaml

    from kubeflow.cluster import Cluster
    from kubeflow.compile import compile_pipeline
    from kubeflow.parameters import RunParameters
    from tests.kubeflow import object_store
    from tests.kubeflow.backend import Backend

    documents = compile_pipeline("registry.test/cifar:1", Cluster(), RunParameters("smoke"))
    (folder / "s3").mkdir(parents=True)
    with object_store.serve(folder / "s3", "mlpipeline") as store:
        backend = Backend(store, folder)
        started = time.monotonic()
        steps = backend.run(yaml.safe_dump_all(documents))
        seconds = round(time.monotonic() - started, 1)
    return {
        "seconds": seconds,
        "steps": {
            name: {
                "seconds": round(step.seconds, 1),
                "peak_memory_mib": round(step.peak_memory_mib),
            }
            for name, step in steps.items()
        },
    }


def as_text(result: dict[str, Any]) -> str:
    """Returns the result as a table."""
    lines = [f"{'step':<18} {'seconds':>8} {'local':>8} {'memory':>10}"]
    lines += [
        f"{name:<18} {step['seconds']:8.1f} {step['local_seconds']:8.1f} "
        f"{step['peak_memory_mib']:6.0f} MiB"
        for name, step in result["steps"].items()
    ]
    lines += [
        f"{'total':<18} {there:8.1f} {here:8.1f}   ({there / here:.2f} times)"
        for there, here in zip(
            result["total_seconds"], result["local_total_seconds"], strict=True
        )
    ]
    lines += [
        f"{'kept' if kept else 'MISSED'}  {target}"
        for target, kept in result["targets"].items()
    ]
    return "\n".join(lines)
