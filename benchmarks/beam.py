"""The Beam stages on each runner: seconds for several amounts of data, and memory.

Flink and Spark are measured if `cifar beam start` has started them.

Size 0 is the bundled sample, whose time is almost entirely the fixed cost of a job.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks import scaled_data
from benchmarks.line import fitted
from benchmarks.pipeline import describe
from benchmarks.process import CIFAR, GIB, TreeSampler, measure
from benchmarks.targets import Target, conclude, target_line
from contract.progress import Progress
from data_sources import dataset
from pipeline_def.beam import cluster
from pipeline_def.config import PipelineConfig

STAGES = ("CifarExampleGen", "StatisticsGen", "Evaluator")
RUNNERS = {"1 process": (), "2 processes": ("--parallelism", "2")}
CLUSTERS = {"Flink, 2 workers": "flink", "Spark, 2 workers": "spark"}
WORKER = "multiprocessing.forkserver"  # in the command line of a worker, and of its parent
FEW_STEPS = ("--set", "train_steps=20", "--set", "eval_every_steps=20")
MAX_FIXED_SECONDS = 15
# Of the time beyond the fixed cost, relative to that of the data. This cost and the time of the
# least data are those of the line through all amounts but the largest.
MAX_GROWTH = 10.5 / 10
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
    runners = available()
    with tempfile.TemporaryDirectory(prefix="cifar-bench-") as folder:
        for size in sizes:
            source = "sample"
            if size:
                source = scaled_data.write(found.directory, Path(folder) / f"data-{size}", size)
            for number, (name, options) in enumerate(runners.items()):
                progress.say(f"{name}, {size} times the data …")
                output = Path(folder) / f"output-{size}-{number}"
                report["runs"].append(
                    {"runner": name, "scale": size, **run(source, output, options)}
                )
    return conclude(report, judge(report), table, json_output)


def available() -> dict[str, tuple[str, ...]]:
    """Returns the options of each runner that is there."""
    found = dict(RUNNERS)
    for name, engine in CLUSTERS.items():
        if cluster.running(_cluster(engine)):
            found[name] = ("--runner", engine)
    return found


def _cluster(engine: str) -> cluster.Cluster:
    folder = os.environ.get(cluster.FOLDER_VARIABLE, cluster.DEFAULT_FOLDER)
    return cluster.Cluster(engine, Path(folder))


def run(data: str, output: Path, options: Sequence[str]) -> dict[str, Any]:
    """Returns the seconds of each Beam stage, and the memory of the largest worker."""
    engines = [cluster.running(_cluster(engine)) for engine in CLUSTERS.values()]
    parents = [psutil.Process().pid, *(each.pid for engine in engines for each in engine)]
    sampler = WorkerSampler(parents)
    sampler.start()
    os.sync()  # what the run before has written shall not slow this one
    command = [CIFAR, "run", "--preset", "smoke", "--data", data, "--output", str(output)]
    measure([*command, *FEW_STEPS, *options])
    sampler.stop()
    stages = json.loads((output / "run.json").read_text())["stages"]
    return {
        "seconds": {name: stages[name]["seconds"] for name in STAGES},
        "worker_bytes": sampler.peak_bytes,
    }


class WorkerSampler(TreeSampler):
    """Samples the memory of the largest Beam worker below some processes; 0 without workers."""

    def __init__(self, pids: Sequence[int]) -> None:
        super().__init__(pids[0])
        self._pids = pids

    def sample(self) -> int:
        """Returns the largest worker's current memory."""
        return max([0, *(size for pid in self._pids for size in _worker_sizes(pid))])


def _worker_sizes(pid: int) -> list[int]:
    """Returns the memory of each Beam worker below a process."""
    sizes = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                parent = process.parent()
                if parent and all(
                    WORKER in " ".join(one.cmdline()) for one in (process, parent)
                ):
                    sizes.append(process.memory_info().rss)
    return sizes


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
    runners = dict.fromkeys(one["runner"] for one in report["runs"])
    for runner in runners:
        fixed = seconds_of(report, runner, 0)
        targets.append(
            Target(f"{runner}: fixed cost", max(fixed.values()), MAX_FIXED_SECONDS, "s a job")
        )
        if most > least:
            totals = [sum(seconds_of(report, runner, size).values()) for size in sizes]
            line = fitted(sizes[:-1], totals[:-1])
            growth = (totals[-1] - line.fixed) / (line.each * least)
            wanted = MAX_GROWTH * most / least
            targets.append(
                Target(f"{runner}: {most / least:g} times the data", growth, wanted, "×")
            )
        workers = {
            one["scale"]: one["worker_bytes"]
            for one in report["runs"]
            if one["runner"] == runner and one["worker_bytes"]
        }
        if most > least and least in workers:
            growth = workers[most] / workers[least]
            name = f"{runner}: memory of the largest worker"
            targets.append(Target(name, growth, MAX_MEMORY_GROWTH, "×"))
    return targets


def table(report: Mapping[str, Any], targets: list[Target]) -> list[str]:
    """Returns the lines for a terminal."""
    lines = [
        f"{report['images']:,} images ({report['data_source']}), {report['cores']} cores, "
        f"Python {report['python']}",
        "",
        f"{'runner':<18}{'data':>8}" + "".join(f"{name:>18}" for name in STAGES) + "    worker",
    ]
    for one in report["runs"]:
        size = f"{one['scale']} ×" if one["scale"] else "sample"
        cells = "".join(f"{one['seconds'][name]:>16.1f} s" for name in STAGES)
        memory = f"{one['worker_bytes'] / GIB:>6.2f} GiB" if one["worker_bytes"] else ""
        lines.append(f"{one['runner']:<18}{size:>8}{cells}{memory}")
    return [*lines, "", *(target_line(target) for target in targets)]
