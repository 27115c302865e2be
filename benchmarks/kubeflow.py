"""The compiled pipeline, step by step, compared with the same nodes in one local process.

As on a cluster, each step of the compiled pipeline is a process with its own file system and
its artifacts in an S3 server (benchmarks/emulator), but no images are pulled and no pods are
scheduled. Independent steps run in parallel, as on a cluster, but share this machine's cores.
Both runs train preset smoke on the bundled sample, alternately and several times; the seconds
of a step are medians.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.process import CIFAR, measure
from benchmarks.targets import Target, conclude, target_line

ROUNDS = 3


def main(json_output: bool) -> int:
    """Measures, prints a table or one JSON object, and returns 1 if a target was missed."""
    local, compiled = [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            local.append(run_locally(Path(folder) / "local"))
            compiled.append(run_compiled(Path(folder) / "cluster"))
    report = {
        "benchmark": "kubeflow",
        "total_seconds": [run["seconds"] for run in compiled],
        "local_total_seconds": [run["seconds"] for run in local],
        "steps": {
            name: {
                "seconds": statistics.median(run["steps"][name]["seconds"] for run in compiled),
                "local_seconds": statistics.median(run["steps"][name] for run in local),
                "peak_memory_mib": max(run["steps"][name]["memory"] for run in compiled),
            }
            for name in compiled[0]["steps"]
        },
    }
    return conclude(report, judge(report), table, json_output)


def run_locally(output: Path) -> dict[str, Any]:
    """Returns the seconds of a local run: of the whole command and of each step."""
    run = measure(
        [CIFAR, "run", "--preset", "smoke", "--data", "sample", "--output", str(output)]
    )
    stages = json.loads((output / "run.json").read_text())["stages"]
    return {
        "seconds": round(run.seconds, 1),
        "steps": {name: facts["seconds"] for name, facts in stages.items()},
    }


def run_compiled(folder: Path) -> dict[str, Any]:
    """Returns the seconds of a run of the compiled pipeline, and each step's and its memory."""
    import yaml

    from benchmarks.emulator import object_store
    from benchmarks.emulator.backend import Backend
    from kubeflow.cluster import Cluster
    from kubeflow.compile import compile_pipeline
    from kubeflow.parameters import RunParameters

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
            name: {"seconds": round(step.seconds, 1), "memory": round(step.peak_memory_mib)}
            for name, step in steps.items()
        },
    }


def judge(report: dict[str, Any]) -> list[Target]:
    """Returns the targets of `cifar bench kubeflow` with the measured values."""
    start_up = max(step["seconds"] - step["local_seconds"] for step in report["steps"].values())
    ratios = [
        there / here
        for there, here in zip(
            report["total_seconds"], report["local_total_seconds"], strict=True
        )
    ]
    return [
        Target("start-up of a step", round(start_up, 1), 5, "s"),
        Target("total against the local run", statistics.median(ratios), 2, "times"),
    ]


def table(report: dict[str, Any], targets: list[Target]) -> Iterator[str]:
    """Yields the lines for a terminal."""
    yield f"{'step':<18} {'seconds':>8} {'local':>8} {'memory':>10}"
    for name, step in report["steps"].items():
        yield (
            f"{name:<18} {step['seconds']:8.1f} {step['local_seconds']:8.1f} "
            f"{step['peak_memory_mib']:6.0f} MiB"
        )
    totals = zip(report["total_seconds"], report["local_total_seconds"], strict=True)
    for there, here in totals:
        yield f"{'total':<18} {there:8.1f} {here:8.1f}"
    yield from map(target_line, targets)
