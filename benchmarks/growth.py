"""Several times the data through our pipeline: seconds, memory and the speed of training.

Both runs have the same memory for images, which holds the data once: a larger set is streamed.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import scaled_data
from benchmarks.process import CIFAR, GIB, measure
from benchmarks.targets import Target, target_line
from contract.progress import Progress

DATA_STAGES = ("CifarExampleGen", "StatisticsGen", "Transform")
# Long enough to read past the shuffle buffer; evaluated once.
SETTINGS = (
    "train_steps=600",
    "log_every_steps=50",
    "eval_every_steps=600",
    "min_accuracy=0",
    "data_memory_gib=0.15",  # 50,000 images of CIFAR-10 have 0.143 GiB
)
MAX_SECONDS_GROWTH = 10.5 / 10  # of the data stages, relative to that of the data
MAX_MEMORY_GROWTH = 1.1
MIN_SPEED_PERCENT = 90


def measure_all(batches: Path, times: int, progress: Progress) -> dict[str, Any]:
    """Returns what a run with the data takes, and a run with several times the data."""
    with tempfile.TemporaryDirectory(prefix="cifar-bench-") as name:
        folder = Path(name)
        progress.say("A run with the data …")
        once = run(str(batches), folder / "once")
        progress.say(f"A run with {times} times the data …")
        data = scaled_data.write(batches, folder / "data", times)
        return {"once": once, "scaled": run(data, folder / "scaled")}


def run(data: str, output: Path) -> dict[str, Any]:
    """Returns the seconds of the data stages, the peak memory and the speed of training."""
    command = [CIFAR, "run", "--preset", "quick", "--data", data, "--output", str(output)]
    for setting in SETTINGS:
        command += ["--set", setting]
    measured = measure(command)
    record = json.loads((output / "run.json").read_text())
    stages = {name: stage["seconds"] for name, stage in record["stages"].items()}
    return {
        "stages": stages,
        "data_seconds": sum(stages[name] for name in DATA_STAGES),
        "peak_bytes": measured.peak_bytes,
        "images_per_second": record["examples_per_second"],
    }


def judge(report: Mapping[str, Any]) -> list[Target]:
    """Returns each target with the measured value."""
    once, scaled, times = report["once"], report["scaled"], report["scale"]
    speed = 100 * scaled["images_per_second"] / once["images_per_second"]
    return [
        Target(
            f"data stages, {times} times the data",
            scaled["data_seconds"] / once["data_seconds"],
            MAX_SECONDS_GROWTH * times,
            "×",
        ),
        Target(
            "peak memory", scaled["peak_bytes"] / once["peak_bytes"], MAX_MEMORY_GROWTH, "×"
        ),
        Target("training speed when streamed", speed, MIN_SPEED_PERCENT, "%", is_minimum=True),
    ]


def table(report: Mapping[str, Any], targets: list[Target]) -> list[str]:
    """Returns the lines for a terminal."""
    times = report["scale"]
    lines = [f"{report['images']:,} images, and {times} times that; {report['cores']} cores"]
    for name, found in (("once", report["once"]), (f"{times} times", report["scaled"])):
        lines.append(
            f"{name}: data stages {found['data_seconds']:.1f} s, peak memory "
            f"{found['peak_bytes'] / GIB:.2f} GiB, {found['images_per_second']:,.0f} images/s"
        )
    return [*lines, *map(target_line, targets)]
