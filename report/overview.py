"""What ran, what is running, what is pushed, what is served."""

import dataclasses
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from contract import estimator, terminal
from contract.progress import duration
from contract.terminal import Column
from report import runs
from report.run_record import RunRecord
from report.runs import RunSummary
from report.stages import StageStatus, stage_list
from serving import model_registry

SERVER_TIMEOUT_SECONDS = 1.0
COLUMNS = (
    Column("run"),
    Column("status"),
    Column("preset", rank=2),
    Column("steps", is_number=True, rank=3),
    Column("accuracy", is_number=True),
    Column("time", is_number=True, rank=1),
    Column("cached", is_number=True, rank=4),
    Column("version"),
)


@dataclasses.dataclass(frozen=True)
class LatestRun(RunSummary):
    """The newest run, with the status of each stage."""

    stage_list: Sequence[StageStatus]


@dataclasses.dataclass(frozen=True)
class ServedVersion:
    """A version a server knows, and its state in the server's words."""

    version: str
    state: str


@dataclasses.dataclass(frozen=True)
class Overview:
    """The state of an output folder.

    Attributes:
        versions: What is pushed, oldest first.
        server: `HOST:PORT` of the server that was asked.
        served: What it serves; None if none answers there.
    """

    output: str
    is_running: bool
    latest: LatestRun | None
    versions: Sequence[int]
    server: str
    served: Sequence[ServedVersion] | None


def read_overview(output: Path, model_name: str, server: str) -> Overview:
    """Returns the state of an output folder.

    Args:
        output: The output folder.
        model_name: Whose versions to list.
        server: `HOST:PORT` of a model server's REST interface.
    """
    latest = next(reversed(runs.read_runs(output)), None)
    serving_dir = latest.settings.serving_dir if latest else ""
    model_dir = Path(serving_dir or output / "serving") / model_name
    return Overview(
        output=str(output),
        is_running=runs.is_running(output),
        latest=_latest(latest) if latest else None,
        versions=[version.number for version in model_registry.pushed_versions(model_dir)],
        server=server,
        served=served_versions(server, model_name),
    )


def _latest(run: RunRecord) -> LatestRun:
    return LatestRun(**vars(runs.summary(run)), stage_list=stage_list(run))


def served_versions(server: str, model_name: str) -> list[ServedVersion] | None:
    """Returns what a server serves; None if none answers there."""
    url = f"http://{server}/v1/models/{model_name}"
    try:
        with urllib.request.urlopen(url, timeout=SERVER_TIMEOUT_SECONDS) as response:
            statuses = json.load(response)["model_version_status"]
        return [ServedVersion(status["version"], status["state"]) for status in statuses]
    except urllib.error.HTTPError:
        return []  # a server, but not of this model
    except (OSError, ValueError, KeyError):
        return None


def as_lines(overview: Overview) -> list[str]:
    """Returns the state as a person reads it."""
    if overview.latest is None:
        lines = [f"There are no runs in {overview.output}; `cifar run` makes one."]
    else:
        lines = [run_line(overview.latest), ""]
        if overview.latest.trainer_module != estimator.DEFAULT:
            lines += [f"Estimator {overview.latest.trainer_module}", ""]
        for stage in overview.latest.stage_list:
            seconds = duration(stage.seconds or 0) if stage.status == "done" else ""
            lines.append(f"  {stage.name:<18} {stage.status:<8} {seconds:>10}".rstrip())
    if overview.is_running:
        lines += ["", "A run is writing to this folder now."]
    versions = ", ".join(map(str, overview.versions))
    return [
        *lines,
        "",
        f"Pushed   {versions or 'nothing'}",
        f"Served   {_served_in_words(overview)}",
    ]


def _served_in_words(overview: Overview) -> str:
    served, server = overview.served, overview.server
    if served is None:
        return f"nothing answers on {server}; `cifar serve` starts a server"
    if not served:
        return f"the server on {server} does not know this model"
    return f"{', '.join(f'{one.version} {one.state}' for one in served)} on {server}"


def run_line(run: RunSummary) -> str:
    """Returns one run on a line."""
    parts = [
        f"{run.run_id}  {run.status.replace('_', ' ')}",
        f"{run.preset or '–'}, {run.train_steps:,} steps",
        "" if run.accuracy is None else f"accuracy {run.accuracy:.1%}",
        duration(run.seconds),
        f"{run.cached_stages} of {run.stages} stages cached",
        f"version {run.pushed_version}" if run.pushed_version else "",
    ]
    return "  ".join(part for part in parts if part)


def run_lines(runs: Sequence[RunSummary], width: int | None = None) -> list[str]:
    """Returns a header and a line for each run; no line is wider than a terminal's `width`."""
    lines = terminal.table_lines(COLUMNS, [run_cells(run) for run in runs], width)
    if any(run.is_retired for run in runs):
        lines += ["", "(version): retired, no longer in the serving folder"]
    return lines


def run_cells(run: RunSummary) -> tuple[str, ...]:
    """Returns the cells for COLUMNS."""
    version = run.pushed_version or ""
    return (
        run.run_id,
        run.status.replace("_", " "),
        run.preset or "–",
        f"{run.train_steps:,}",
        "–" if run.accuracy is None else f"{run.accuracy:.1%}",
        duration(run.seconds),
        f"{run.cached_stages} of {run.stages}",
        f"({version})" if run.is_retired else version,
    )
