"""The Beam stages in one process and in two: seconds for several amounts of data, and memory.

Size 0 is the bundled sample, whose time is almost entirely the fixed cost of a job.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks import scaled_data
from benchmarks.pipeline import describe
from benchmarks.process import CIFAR, GIB, TreeSampler, measure
from benchmarks.targets import Target, conclude, target_line
from contract.progress import Progress
from data_sources import dataset
from pipeline_def.config import PipelineConfig

STAGES = ("CifarExampleGen", "StatisticsGen", "Evaluator")
RUNNERS = {"1 process": (), "2 processes": ("--parallelism", "2")}
FEW_STEPS = ("--set", "train_steps=20", "--set", "eval_every_steps=20")
MAX_FIXED_SECONDS = 15
MAX_GROWTH = 10.5 / 10  # of the time beyond the fixed cost, relative to that of the data
MAX_MEMORY_GROWTH = 1.2  # of the largest worker


def main(json_output: bool, data: str = "auto", scale: Sequence[int] = (1, 10)) -> int:
    """Measures, prints a table or one JSON object, and returns the exit code.

    Args:
        json_output: Whether to print JSON.
        data: As for `cifar run --data`.
        scale: How many copies of that data to measure with.

    Returns:
        0 when every target is met, else 1.

    Raises:
        RuntimeError: A run failed.
    """
    progress = Progress()
    found = dataset.locate(data, Path(PipelineConfig().data_dir), progress)
    sizes = (0, *sorted(scale))
    report = {"benchmark": "beam", **describe(found), "scale": sizes, "runs": []}
    with tempfile.TemporaryDirectory(prefix="cifar-bench-") as folder:
        for size in sizes:
            source = "sample"
            if size:
                source = scaled_data.write(found.directory, Path(folder) / f"data-{size}", size)
            for name, options in RUNNERS.items():
                progress.say(f"{name}, {size} times the data …")
                output = Path(folder) / f"output-{size}-{len(options)}"
                report["runs"].append(
                    {"runner": name, "scale": size, **run(source, output, options)}
                )
    return conclude(report, judge(report), table, json_output)


def run(data: str, output: Path, options: Sequence[str]) -> dict[str, Any]:
    """Returns the seconds of each Beam stage, and the memory of the largest worker."""
    sampler = WorkerSampler(psutil.Process().pid)
    sampler.start()
    command = [CIFAR, "run", "--preset", "smoke", "--data", data, "--output", str(output)]
    measure([*command, *FEW_STEPS, *options])
    sampler.stop()
    stages = json.loads((output / "run.json").read_text())["stages"]
    return {
        "seconds": {name: stages[name]["seconds"] for name in STAGES},
        "worker_bytes": sampler.peak_bytes,
    }


class WorkerSampler(TreeSampler):
    """Samples the memory of the largest Beam worker below a process; 0 without workers."""

    def sample(self) -> int:
        """Returns the largest worker's current memory."""
        sizes = [0]
        for process in psutil.Process(self._pid).children(recursive=True):
            try:
                if "sdk_worker_main" in " ".join(process.cmdline()):
                    sizes.append(process.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
        return max(sizes)


def seconds_of(report: Mapping[str, Any], runner: str, scale: int) -> Mapping[str, float]:
    """Returns the seconds of each stage in one of the runs."""
    (found,) = (
        one["seconds"]
        for one in report["runs"]
        if (one["runner"], one["scale"]) == (runner, scale)
    )
    return found


def judge(report: Mapping[str, Any]) -> list[Target]:
    """Returns each target with the measured value."""
    _, least, *_ = sizes = report["scale"]
    most = sizes[-1]
    targets = []
    for runner in RUNNERS:
        fixed, once, often = (seconds_of(report, runner, size) for size in (0, least, most))
        targets.append(
            Target(f"{runner}: fixed cost", max(fixed.values()), MAX_FIXED_SECONDS, "s a job")
        )
        if most > least:
            growth = (sum(often.values()) - sum(fixed.values())) / (
                sum(once.values()) - sum(fixed.values())
            )
            wanted = MAX_GROWTH * most / least
            targets.append(
                Target(f"{runner}: {most / least:g} times the data", growth, wanted, "×")
            )
    workers = {
        one["scale"]: one["worker_bytes"] for one in report["runs"] if one["worker_bytes"]
    }
    if most > least and least in workers:
        growth = workers[most] / workers[least]
        targets.append(Target("memory of the largest worker", growth, MAX_MEMORY_GROWTH, "×"))
    return targets


def table(report: Mapping[str, Any], targets: list[Target]) -> list[str]:
    """Returns the lines for a terminal."""
    lines = [
        f"{report['images']:,} images ({report['data_source']}), {report['cores']} cores, "
        f"Python {report['python']}",
        "",
        f"{'runner':<14}{'data':>8}" + "".join(f"{name:>18}" for name in STAGES) + "    worker",
    ]
    for one in report["runs"]:
        size = f"{one['scale']} ×" if one["scale"] else "sample"
        cells = "".join(f"{one['seconds'][name]:>16.1f} s" for name in STAGES)
        memory = f"{one['worker_bytes'] / GIB:>6.2f} GiB" if one["worker_bytes"] else ""
        lines.append(f"{one['runner']:<14}{size:>8}{cells}{memory}")
    return [*lines, "", *(target_line(target) for target in targets)]
