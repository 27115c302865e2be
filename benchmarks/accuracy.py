"""How fast the presets learn, and how long the classic way takes to reach the same accuracy.

Each preset is trained once per seed, in its own process, and evaluated on eval during training.
The classic way trains exactly like preset `reference`, but slower. So its time to reach an
accuracy is the number of steps of `reference` at the speed of `benchmarks/classic.py`, which is
also measured here. This takes hours.
"""

import platform
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import training
from benchmarks.targets import Target, conclude, target_line
from contract.progress import Progress, duration
from data_sources import dataset
from pipeline_def.config import PipelineConfig, presets

LEVELS = (0.80, 0.83, 0.85, 0.86, 0.87)
CLASSIC = "reference"
SEEDS = (0, 1, 2)

Curve = Sequence[tuple[int, float, float]]  # step, seconds since the Trainer began, accuracy


def main(
    json_output: bool,
    data: str = "auto",
    presets: Sequence[str] = ("quick", "best", CLASSIC),
    seeds: Sequence[int] = SEEDS,
    steps: int | None = None,
) -> int:
    """Measures, prints a table or one JSON object, and returns the exit code.

    Args:
        json_output: Whether to print JSON.
        data: As for `cifar run --data`.
        presets: The presets to train; the classic way's times need `reference`.
        seeds: One training of each preset per seed; `reference` uses only the first.
        steps: The number of steps per training; None for all.

    Returns:
        0 when every target is met, else 1.

    Raises:
        RuntimeError: A training failed.
    """
    progress = Progress()
    found = dataset.locate(data, Path(PipelineConfig().data_dir), progress)
    with tempfile.TemporaryDirectory(prefix="cifar-bench-") as name:
        folder = Path(name)
        examples = folder / "examples"
        examples.mkdir()
        progress.say("Writing the examples and the transform graph …")
        training.run_part("prepare", folder, str(found.directory), str(examples))
        classic = training.measure_classic(str(found.directory), folder)
        curves = {
            preset: learn(preset, seeds, steps, examples, folder, progress)
            for preset in presets
        }
    summaries = {preset: summarize(given, seeds) for preset, given in curves.items()}
    report = {
        "benchmark": "accuracy",
        "data_source": found.source,
        "python": platform.python_version(),
        "seeds": list(seeds),
        "curves": curves,
        "presets": summaries,
        "classic": classic_times(curves.get(CLASSIC, []), classic["examples_per_second"]),
    }
    return conclude(report, judge(summaries), table, json_output)


def learn(
    preset: str,
    seeds: Sequence[int],
    steps: int | None,
    examples: Path,
    folder: Path,
    progress: Progress,
) -> list[Curve]:
    """Returns the learning curve of a preset for each seed."""
    curves = []
    for seed in seeds[:1] if preset == CLASSIC else seeds:
        progress.say(f"Training {preset} with seed {seed} …")
        output = str(folder / f"{preset}-{seed}")
        arguments = (str(examples), output, preset, str(seed), str(steps or 0))
        curves.append(training.run_part("learn", folder, *arguments)["curve"])
    return curves


def summarize(curves: Sequence[Curve], seeds: Sequence[int]) -> dict[str, Any]:
    """Returns the mean and the spread of a preset's curves, and its times to each level."""
    ends = [curve[-1] for curve in curves]
    return {
        "steps": ends[0][0],
        "accuracy_by_seed": {
            str(seed): accuracy for seed, (_, _, accuracy) in zip(seeds, ends, strict=False)
        },
        "training_seconds": statistics.mean(seconds for _, seconds, _ in ends),
        "curve": [
            {
                "step": points[0][0],
                "seconds": statistics.mean(seconds for _, seconds, _ in points),
                **_spread([accuracy for _, _, accuracy in points]),
            }
            for points in zip(*curves, strict=True)
        ],
        "seconds_to": {
            f"{level:.0%}": _median_if_all([first_at(curve, level, 1) for curve in curves])
            for level in LEVELS
        },
    }


def _spread(accuracies: Sequence[float]) -> dict[str, float]:
    deviation = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
    return {"accuracy": statistics.mean(accuracies), "deviation": deviation}


def _median_if_all(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if len(known) == len(values) else None


def first_at(curve: Curve, level: float, column: int) -> float | None:
    """Returns the step (column 0) or the seconds (1) of the first evaluation at a level."""
    return next((point[column] for point in curve if point[2] >= level), None)


def classic_times(curves: Sequence[Curve], examples_per_second: float) -> dict[str, Any]:
    """Returns the classic way's training time to each level.

    Args:
        curves: The curves of `reference`, which it equals step for step; empty without one.
        examples_per_second: The speed of the classic way.
    """
    batch_size = presets()[CLASSIC].hyper_parameters.batch_size
    seconds_to = {}
    for level in LEVELS:
        step = first_at(curves[0], level, 0) if curves else None
        seconds_to[f"{level:.0%}"] = step and step * batch_size / examples_per_second
    return {"examples_per_second": examples_per_second, "seconds_to": seconds_to}


def judge(summaries: Mapping[str, Any]) -> list[Target]:
    """Returns each target of the presets that were trained, with its measured value."""
    targets = []
    if quick := summaries.get("quick"):
        targets += [
            Target("quick: accuracy", _last(quick, "accuracy"), 83, "%", True),
            Target("quick: Trainer", quick["curve"][-1]["seconds"] / 60, 5, "min"),
        ]
    if best := summaries.get("best"):
        early = [point for point in best["curve"] if point["seconds"] <= 600]
        after_10_minutes = 100 * early[-1]["accuracy"] if early else 0.0
        targets += [
            Target("best: accuracy within 10 min", after_10_minutes, 86, "%", True),
            Target("best: accuracy", _last(best, "accuracy"), 87, "%", True),
            Target("best: Trainer", best["curve"][-1]["seconds"] / 60, 30, "min"),
        ]
    return targets


def _last(summary: Mapping[str, Any], name: str) -> float:
    return 100 * float(summary["curve"][-1][name])


def table(report: Mapping[str, Any], targets: list[Target]) -> list[str]:
    """Returns the lines for a terminal."""
    lines = [
        f"{report['cores']} cores, Python {report['python']}, data: {report['data_source']}, "
        f"seeds {', '.join(map(str, report['seeds']))}",
        "",
    ]
    for preset, summary in report["presets"].items():
        lines += [f"{preset:<12}{'Trainer':>14}{'accuracy on eval':>22}"]
        lines += [
            f"{point['step']:>12,}{duration(point['seconds']):>14}"
            f"{point['accuracy']:>15.2%} ± {point['deviation']:.2%}"
            for point in summary["curve"]
        ]
        lines.append("")
    times = {preset: summary["seconds_to"] for preset, summary in report["presets"].items()}
    times["classic way"] = report["classic"]["seconds_to"]
    lines.append(f"{'time to':<16}" + "".join(f"{level:>16}" for level in times["classic way"]))
    for name, by_level in times.items():
        cells = (duration(seconds) if seconds else "–" for seconds in by_level.values())
        lines.append(f"{name:<16}" + "".join(f"{cell:>16}" for cell in cells))
    lines += ["", f"{'target':<36}{'measured':>15}  {'goal':<20}"]
    return lines + [target_line(target) for target in targets]
