"""The report of a full-size run: seconds and size, and their targets."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.pipeline import describe, measure_ours
from benchmarks.process import CIFAR, measure
from benchmarks.targets import Target, conclude, target_line
from contract.files import PAGE_FILE
from contract.progress import Progress
from data_sources import dataset
from pipeline_def.config import PipelineConfig

MAX_SECONDS = 10
MAX_MEGABYTES = 2


def main(json_output: bool, data: str = "auto") -> int:
    """Measures, prints lines or one JSON object, and returns the exit code.

    Args:
        json_output: Whether to print JSON.
        data: As for `cifar run --data`.

    Returns:
        0 when every target is met, else 1.
    """
    progress = Progress()
    found = dataset.locate(data, Path(PipelineConfig().data_dir), progress)
    data = "sample" if found.source == "sample" else data
    with tempfile.TemporaryDirectory(prefix="cifar-bench-") as folder:
        report = {"benchmark": "report", **describe(found)}
        report |= measure_report(data, Path(folder) / "output", progress)
    return conclude(report, judge(report), table, json_output)


def measure_report(data: str, output: Path, progress: Progress) -> dict[str, Any]:
    """Returns the seconds of the report within a run and of its command, and its size.

    Args:
        data: As for `cifar run --data`.
        output: The run's output folder, which does not exist yet.
        progress: Shows what is being measured.
    """
    progress.say("A run to report on …")
    _, record = measure_ours(data, output)
    progress.say("cifar report, on the finished run …")
    again = measure([CIFAR, "report", "--output", str(output)])
    page_bytes = (output / PAGE_FILE).stat().st_size
    progress.say("cifar report, without ReportGen's facts …")
    node = record["stages"].pop("ReportGen")
    (output / "run.json").write_text(json.dumps(record))
    from_artifacts = measure([CIFAR, "report", str(output), "--output", str(output)])
    return {
        "node_seconds": node["seconds"],
        "command_seconds": again.seconds,
        "from_artifacts_seconds": from_artifacts.seconds,
        "peak_bytes": from_artifacts.peak_bytes,
        "page_bytes": page_bytes,
    }


def judge(report: Mapping[str, Any]) -> list[Target]:
    """Returns each target with the measured value."""
    return [
        Target("ReportGen within a run", report["node_seconds"], MAX_SECONDS, "s"),
        Target("cifar report on a finished run", report["command_seconds"], MAX_SECONDS, "s"),
        Target("size of the page", report["page_bytes"] / 1e6, MAX_MEGABYTES, "MB"),
    ]


def table(report: Mapping[str, Any], targets: list[Target]) -> list[str]:
    """Returns the lines for a terminal."""
    return [
        f"{report['images']:,} images ({report['data_source']}), {report['cores']} cores, "
        f"Python {report['python']}",
        "",
        f"{'target':<36}{'measured':>15}  {'goal':<20}",
        *(target_line(target) for target in targets),
        "",
        "From artifacts only, as after a failed run, including TensorFlow and TFX imports: "
        f"{report['from_artifacts_seconds']:.1f} s.",
    ]
