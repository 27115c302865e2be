"""Our training compared with the classic way and with the machine's limit.

Each part runs in its own process; parts take turns, several times, and medians count. Ratios
are taken within a round, since the speed of a shared machine changes from round to round.
"""

import json
import platform
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.process import GIB, measure
from benchmarks.targets import Target, conclude, target_line
from contract.progress import Progress
from data_sources import dataset
from pipeline_def.config import PipelineConfig

ROUNDS = 3
CLASSIC_STEPS = 160  # thirty of them warm up
LIMIT_DTYPES = ("float32", "bfloat16")


def main(json_output: bool, data: str = "auto") -> int:
    """Measures, prints a table or one JSON object, and returns the exit code.

    Args:
        json_output: Whether to print JSON.
        data: As for `cifar run --data`.

    Returns:
        0 when every target is met, else 1.

    Raises:
        RuntimeError: A part failed.
    """
    progress = Progress()
    found = dataset.locate(data, Path(PipelineConfig().data_dir), progress)
    with tempfile.TemporaryDirectory(prefix="cifar-bench-") as folder:
        rounds = measure_all(str(found.directory), Path(folder), progress)
    report = {
        "benchmark": "training",
        "data_source": found.source,
        "python": platform.python_version(),
        "rounds": rounds,
        "medians": medians_of(rounds),
    }
    return conclude(report, judge(rounds), table, json_output)


def measure_all(data_dir: str, folder: Path, progress: Progress) -> list[dict[str, Any]]:
    """Returns the measurements of each round, by part."""
    examples = str(folder / "examples")
    progress.say("Writing the examples and the transform graph …")
    run_part("prepare", folder, data_dir, examples)
    rounds = []
    for number in range(1, ROUNDS + 1):
        progress.say(f"Round {number} of {ROUNDS}, four minutes or more …")
        outputs = folder / f"round-{number}"
        outputs.mkdir()
        measured = {
            "limit": run_part("limit", folder),
            "input": run_part("input", folder, examples),
            "classic": measure_classic(data_dir, outputs),
        }
        for dtype in trained_dtypes([measured]):
            measured[f"ours_{dtype}"] = run_part(
                "ours",
                folder,
                examples,
                str(outputs / dtype),
                dtype,
            )
        rounds.append(measured)
    return rounds


def run_part(part: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """Returns the measurements of a part, and its peak memory."""
    result_file = folder / f"{part}.json"
    command = [sys.executable, "-m", "benchmarks.training_parts", part]
    command += [str(result_file), *arguments]
    peak_bytes = measure(command).peak_bytes
    return {**json.loads(result_file.read_text()), "peak_bytes": peak_bytes}


def measure_classic(data_dir: str, outputs: Path) -> dict[str, Any]:
    """Returns the measurements of the classic way, and its peak memory."""
    result_file = outputs / "classic.json"
    command = [sys.executable, "-m", "benchmarks.classic", data_dir, str(outputs / "classic")]
    peak_bytes = measure([*command, str(result_file), str(CLASSIC_STEPS)]).peak_bytes
    return {**json.loads(result_file.read_text()), "peak_bytes": peak_bytes}


def trained_dtypes(rounds: list[dict[str, Any]]) -> list[str]:
    """Returns the dtypes of our training: float32, and the fastest if that is another."""
    return list(dict.fromkeys(("float32", rounds[0]["limit"]["fastest"])))


def medians_of(rounds: list[dict[str, Any]]) -> dict[str, float]:
    """Returns each speed in images per second, and the peak memory of our training."""

    def median(part: str, *path: str) -> float:
        values = []
        for measured in rounds:
            value = measured[part]
            for name in path:
                value = value[name]
            values.append(value)
        return statistics.median(values)

    ours = [f"ours_{dtype}" for dtype in trained_dtypes(rounds)]
    speeds = {part: median(part, "examples_per_second") for part in ("classic", "input", *ours)}
    for dtype in LIMIT_DTYPES:
        speeds[f"limit_{dtype}"] = median("limit", dtype, "examples_per_second")
    peak_bytes = max(measured[part]["peak_bytes"] for measured in rounds for part in ours)
    return {**speeds, "ours_peak_bytes": peak_bytes}


def judge(rounds: list[dict[str, Any]]) -> list[Target]:
    """Returns each target with the measured value."""
    each = [medians_of([measured]) for measured in rounds]

    def ratio(part: str, other: str) -> float:
        return statistics.median(speeds[part] / speeds[other] for speeds in each)

    fastest = trained_dtypes(rounds)[-1]
    classic = ratio(f"ours_{fastest}", "classic")
    limit_percent = 100 * ratio(f"ours_{fastest}", f"limit_{fastest}")
    input_ratio = ratio("input", f"ours_{fastest}")
    return [
        Target("compared with the classic way", classic, 2.6, "× faster", True),
        Target(f"share of the {fastest} limit", limit_percent, 85, "%", True),
        Target("input pipeline, compared with a step", input_ratio, 4, "× faster", True),
        Target("peak memory", medians_of(rounds)["ours_peak_bytes"] / GIB, 2, "GiB"),
    ]


def table(report: Mapping[str, Any], targets: list[Target]) -> list[str]:
    """Returns the lines for a terminal."""
    medians = report["medians"]
    rows = {
        "classic way, float32": "classic",
        "ours, float32": "ours_float32",
        "ours, bfloat16": "ours_bfloat16",
        "limit, float32": "limit_float32",
        "limit, bfloat16": "limit_bfloat16",
        "our input alone": "input",
    }
    return [
        f"{report['cores']} cores, Python {report['python']}, data: {report['data_source']}, "
        f"medians of {len(report['rounds'])} rounds",
        "",
        *(
            f"{name:<24}{medians[key]:>10,.0f} images/s"
            for name, key in rows.items()
            if key in medians
        ),
        "",
        f"{'target':<36}{'measured':>15}  {'goal':<20}",
        *(target_line(target) for target in targets),
    ]
