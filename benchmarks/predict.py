"""Batch prediction compared with direct calls of the same SavedModel, in one process."""

import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.targets import Target, conclude, target_line
from contract import signatures
from contract.progress import Progress
from data_sources import dataset
from pipeline_def import batch_prediction
from pipeline_def.config import PipelineConfig
from serving.batch import results, sources
from serving.model_server.servable import Servable

MODEL_DIR = Path(PipelineConfig().output_dir) / "serving/cifar10"
ROUNDS = 3
MIN_PERCENT = 80


def main(json_output: bool, data: str = "auto", model_dir: Path = MODEL_DIR) -> int:
    """Measures, prints lines or one JSON object, and returns the exit code.

    Args:
        json_output: Whether to print JSON.
        data: As for `cifar run --data`.
        model_dir: A version, or a folder of versions.

    Returns:
        0 when every target is met, else 1.

    Raises:
        FileNotFoundError: No model has been pushed.
    """
    progress = Progress()
    found = dataset.locate(data, Path(PipelineConfig().data_dir), progress)
    model = batch_prediction.find_model(model_dir)
    rounds = [measure(model, found.directory, progress) for _ in range(ROUNDS)]
    report = {
        "benchmark": "predict",
        "images": rounds[0]["images"],
        "rounds": rounds,
        "percent_of_direct": statistics.median(each["percent"] for each in rounds),
    }
    return conclude(report, judge(report), table, json_output)


def measure(model: Path, batches: Path, progress: Progress) -> dict[str, Any]:
    """Returns the images per second of direct calls and of whole batch predictions."""
    progress.say("Direct calls …")
    direct = direct_rate(model, batches)
    ours = {}
    for name in results.FORMATS:
        progress.say(f"Batch prediction, {name} …")
        with tempfile.TemporaryDirectory(prefix="cifar-bench-") as folder:
            started = time.perf_counter()
            record = batch_prediction.run(batches, Path(folder), model, name)
            ours[name] = round(record.images / (time.perf_counter() - started), 1)
    return {
        "images": record.images,
        "direct_images_per_second": round(direct, 1),
        "images_per_second": ours,
        "percent": round(100 * ours["parquet"] / direct, 1),
    }


def direct_rate(model: Path, batches: Path) -> float:
    """Returns the images per second of calls in a loop, excluding reading."""
    servable = Servable(model, "model", 1)
    signature = servable.signatures[signatures.EXAMPLES]
    (fed,) = (info.name for info in signature.inputs.values())
    fetches = tuple(sorted(info.name for info in signature.outputs.values()))
    items = itertools.chain.from_iterable(map(sources.read, sources.find(batches)))
    images, seconds = 0, 0.0
    for number, batch in enumerate(items):
        contents = np.array([item.content for item in batch], object)
        started = time.perf_counter()
        servable.run({fed: contents}, fetches)
        if number:  # the first warms up
            seconds += time.perf_counter() - started
            images += len(batch)
    servable.close()
    return images / seconds


def judge(report: dict[str, Any]) -> list[Target]:
    """Returns the target of `cifar bench predict` with the measured value."""
    name = "of the rate of direct calls"
    return [Target(name, report["percent_of_direct"], MIN_PERCENT, "%", is_minimum=True)]


def table(report: dict[str, Any], targets: list[Target]) -> Iterator[str]:
    """Yields the lines for a terminal."""
    yield f"{report['images']:,} images, {report['cores']} cores"
    for each in report["rounds"]:
        rates = ", ".join(
            f"{name} {rate:,.0f}" for name, rate in each["images_per_second"].items()
        )
        yield f"images/s: direct {each['direct_images_per_second']:,.0f}, {rates}"
    yield from map(target_line, targets)
