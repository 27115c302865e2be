"""The pipeline compared with a stock one: seconds, memory, and their targets.

Every command runs in its own process, one after another, on the same machine.
"""

import dataclasses
import json
import platform
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import growth
from benchmarks.process import CIFAR, GIB, Measurement, measure
from benchmarks.targets import Target, conclude, target_line
from contract.progress import Progress
from data_sources import dataset
from data_sources.cifar_format import BATCH_FILES, CIFAR10
from pipeline_def.config import PipelineConfig, presets

# The parts that a run imports; `from tfx import v1` takes twice as long.
IMPORT_TFX = (
    "from tfx.components import StatisticsGen, Trainer, Transform; "
    "from tfx.orchestration import pipeline; from tfx.orchestration.portable import launcher"
)
IMPORT_COUNT = 3
HELP_COUNT = 5

PRESET = "quick"
# Divides every setting of the preset that counts steps. The run has as many logs, summaries,
# checkpoints and evaluations, and differs only in the number of steps.
SHORTENED = 25
STEP_FIELDS = (
    "train_steps",
    "log_every_steps",
    "summary_every_steps",
    "checkpoint_every_steps",
    "eval_every_steps",
)

DATA_STAGES = {  # task → node of the stock pipeline, node of ours
    "examples": ("ImportExampleGen", "CifarExampleGen"),
    "statistics": ("StatisticsGen", "StatisticsGen"),
    "schema": ("SchemaGen", ""),  # ours comes with the examples
    "transform": ("Transform", "Transform"),
}
COMPARED_STAGES = {**DATA_STAGES, "evaluate": ("Evaluator", "Evaluator")}


def main(json_output: bool, data: str = "auto", scale: Sequence[int] = ()) -> int:
    """Measures, prints a table or one JSON object, and returns the exit code.

    Args:
        json_output: Whether to print JSON.
        data: As for `cifar run --data`.
        scale: How many times that data to compare with it, instead of the stock pipeline.

    Returns:
        0 when every target is met, else 1.

    Raises:
        RuntimeError: A command failed, or the rerun was not fully cached.
    """
    progress = Progress()
    found = dataset.locate(data, Path(PipelineConfig().data_dir), progress)
    if scale:
        report = {"benchmark": "pipeline", **describe(found), "scale": max(scale)}
        report |= growth.measure_all(found.directory, max(scale), progress)
        return conclude(report, growth.judge(report), growth.table, json_output)
    data = "sample" if found.source == "sample" else data
    with tempfile.TemporaryDirectory(prefix="cifar-bench-") as folder:
        report = {"benchmark": "pipeline", **describe(found)}
        report |= measure_all(data, Path(folder), progress)
    return conclude(report, judge(report), table, json_output)


def describe(data: dataset.Dataset) -> dict[str, Any]:
    """Returns facts about the data and the machine."""
    content_bytes = sum((data.directory / name).stat().st_size for name in BATCH_FILES)
    return {
        "data_source": data.source,
        "images": content_bytes // CIFAR10.record_bytes,
        "is_complete": data.is_complete,
        "python": platform.python_version(),
    }


def measure_all(data: str, folder: Path, progress: Progress) -> dict[str, Any]:
    """Returns all measurements, by command.

    Args:
        data: As for `cifar run --data`.
        folder: For the outputs of both pipelines.
        progress: Shows what is being measured.
    """
    progress.say(f"cifar --help, {HELP_COUNT} times …")
    help_seconds = [measure([CIFAR, "--help"]).seconds for _ in range(HELP_COUNT)]
    progress.say(f"Our pipeline, preset {PRESET} with 1/{SHORTENED} of its steps …")
    ours, record = measure_ours(data, folder / "ours")
    progress.say(f"Importing TFX, {IMPORT_COUNT} times …")
    import_seconds = [
        measure([sys.executable, "-c", IMPORT_TFX]).seconds for _ in range(IMPORT_COUNT)
    ]
    progress.say("Our pipeline again, fully cached …")
    cached, cached_record = measure_ours(data, folder / "ours")
    if again := [
        name for name, stage in cached_record["stages"].items() if not stage["cached"]
    ]:
        raise RuntimeError(f"The rerun was not fully cached: {', '.join(again)} ran again.")
    progress.say("The stock pipeline, one to three minutes …")
    stock, stock_stages = measure_stock(folder / "ours", record["pushed_path"], folder)
    return {
        "stock": dataclasses.asdict(stock) | {"stages": stock_stages},
        "ours": dataclasses.asdict(ours)
        | {
            "stages": {name: stage["seconds"] for name, stage in record["stages"].items()},
            "train_steps": record["train_steps"],
            "step_seconds": step_seconds(record),
        },
        "cached": dataclasses.asdict(cached),
        "import_tfx_seconds": import_seconds,
        "help_seconds": help_seconds,
    }


def measure_ours(data: str, output_dir: Path) -> tuple[Measurement, dict[str, Any]]:
    """Returns the measurement of `cifar run`, and its record."""
    preset = presets()[PRESET].hyper_parameters
    settings = [f"{name}={getattr(preset, name) // SHORTENED}" for name in STEP_FIELDS]
    settings += ["min_accuracy=0"]  # so few steps would not be pushed
    command = [CIFAR, "run", "--preset", PRESET, "--data", data, "--output", str(output_dir)]
    for setting in settings:
        command += ["--set", setting]
    measurement = measure(command)
    return measurement, json.loads((output_dir / "run.json").read_text())


def measure_stock(
    our_output_dir: Path, pushed_path: str, folder: Path
) -> tuple[Measurement, dict[str, float]]:
    """Returns the measurement of the stock pipeline, and the seconds of its stages.

    It reads the TFRecords that our ExampleGen wrote and evaluates the model that we pushed.
    """
    (examples_dir,) = our_output_dir.glob("pipeline/CifarExampleGen/examples/*")
    model_dir = folder / "model"
    model_dir.mkdir()
    (model_dir / "Format-Serving").symlink_to(pushed_path)
    output_dir = folder / "stock"
    command = [sys.executable, "-m", "benchmarks.stock_pipeline"]
    command += [str(examples_dir), str(output_dir), str(model_dir)]
    measurement = measure(command)
    return measurement, json.loads((output_dir / "stages.json").read_text())


def step_seconds(record: Mapping[str, Any]) -> float:
    """Returns the seconds of the training steps: their number times the median step.

    So it excludes building the graph, slow first steps, checkpoints and evaluations.
    """
    examples = record["train_steps"] * record["config"]["batch_size"]
    return float(examples / record["examples_per_second"])


def data_seconds(report: Mapping[str, Any]) -> tuple[float, float]:
    """Returns the seconds of the data stages: stock, ours."""
    stock = sum(report["stock"]["stages"][stock] for stock, _ in DATA_STAGES.values())
    ours = sum(report["ours"]["stages"].get(ours, 0.0) for _, ours in DATA_STAGES.values())
    return stock, ours


def judge(report: Mapping[str, Any]) -> list[Target]:
    """Returns each target with the measured value."""
    stock_seconds, our_seconds = data_seconds(report)
    ours, cached = report["ours"], report["cached"]
    cached_seconds = cached["seconds"] - statistics.median(report["import_tfx_seconds"])
    ratio = stock_seconds / our_seconds
    rest_seconds = ours["seconds"] - ours["step_seconds"]
    return [
        Target("data stages, compared with stock", ratio, 12, "× faster", True),
        Target("a run without its training steps", rest_seconds, 35, "s"),
        Target("cached rerun, beyond importing TFX", cached_seconds, 1, "s"),
        Target("cifar --help", statistics.median(report["help_seconds"]), 0.5, "s"),
        Target("peak memory", max(ours["peak_bytes"], cached["peak_bytes"]) / GIB, 2, "GiB"),
    ]


def table(report: Mapping[str, Any], targets: list[Target]) -> list[str]:
    """Returns the lines for a terminal."""
    stock, ours = report["stock"], report["ours"]
    stock_seconds, our_seconds = data_seconds(report)
    rows = [
        (name, stock["stages"][stock_node], ours["stages"].get(our_node, 0.0))
        for name, (stock_node, our_node) in COMPARED_STAGES.items()
    ]
    rows.insert(len(DATA_STAGES), ("data stages", stock_seconds, our_seconds))
    lines = [
        f"{report['images']:,} images ({report['data_source']}), {report['cores']} cores, "
        f"Python {report['python']}",
        "",
        f"{'stage':<14}{'stock':>11}{'ours':>11}",
        *(f"{name:<14}{stock:>9.2f} s{ours:>9.2f} s" for name, stock, ours in rows),
        f"{'peak memory':<14}{stock['peak_bytes'] / GIB:>7.2f} GiB"
        f"{ours['peak_bytes'] / GIB:>7.2f} GiB",
        "",
        f"The run took {ours['seconds']:.1f} s, {ours['step_seconds']:.1f} s of them in "
        f"{ours['train_steps']:,} training steps; cached {report['cached']['seconds']:.1f} s.",
        "",
        f"{'target':<36}{'measured':>15}  {'goal':<20}",
        *(target_line(target) for target in targets),
    ]
    if not report["is_complete"]:
        lines += [
            "",
            f"Note: this data has {report['images']:,} images, not CIFAR-10's 60,000, so the "
            "comparison with the stock pipeline means little.",
        ]
    return lines
