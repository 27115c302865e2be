"""What ran, what is running, what is pushed, what is served."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from contract.progress import duration
from report import runs
from report.stages import stage_list
from serving import model_registry

SERVER_TIMEOUT_SECONDS = 1.0


def read_status(output: Path, model_name: str, server: str) -> dict[str, Any]:
    """Returns the state of an output folder, ready for JSON.

    Args:
        output: The output folder.
        model_name: Whose versions to list.
        server: `HOST:PORT` of a model server's REST interface.
    """
    all_runs = runs.read_runs(output)
    latest = all_runs[-1] if all_runs else None
    served_from = (
        Path(latest["config"]["serving_dir"] or output / "serving")
        if latest
        else output / "serving"
    )
    return {
        "output": str(output),
        "is_running": runs.is_running(output),
        "latest": latest and {**runs.summary(latest), "stage_list": stage_list(latest)},
        "versions": [
            version.number
            for version in model_registry.pushed_versions(served_from / model_name)
        ],
        "server": server,
        "served": served_versions(server, model_name),
    }


def served_versions(server: str, model_name: str) -> list[dict[str, str]] | None:
    """Returns `version` and `state` of what a server serves; None if none answers there."""
    url = f"http://{server}/v1/models/{model_name}"
    try:
        with urllib.request.urlopen(url, timeout=SERVER_TIMEOUT_SECONDS) as response:
            statuses = json.load(response)["model_version_status"]
    except urllib.error.HTTPError:
        return []  # a server, but not of this model
    except (OSError, ValueError, KeyError):
        return None
    return [{"version": status["version"], "state": status["state"]} for status in statuses]


def as_lines(status: dict[str, Any]) -> list[str]:
    """Returns the state as a person reads it."""
    latest = status["latest"]
    if latest is None:
        lines = [f"There are no runs in {status['output']}; `cifar run` makes one."]
    else:
        lines = [run_line(latest), ""]
        for stage in latest["stage_list"]:
            seconds = duration(stage["seconds"]) if stage["status"] == "done" else ""
            lines.append(f"  {stage['name']:<18} {stage['status']:<8} {seconds:>10}".rstrip())
    if status["is_running"]:
        lines += ["", "A run is writing to this folder now."]
    versions = ", ".join(map(str, status["versions"]))
    lines += ["", f"Pushed   {versions or 'nothing'}", f"Served   {_served_in_words(status)}"]
    return lines


def _served_in_words(status: dict[str, Any]) -> str:
    served, server = status["served"], status["server"]
    if served is None:
        return f"nothing answers on {server}; `cifar serve` starts a server"
    if not served:
        return f"the server on {server} does not know this model"
    states = ", ".join(f"{one['version']} {one['state']}" for one in served)
    return f"{states} on {server}"


def run_line(run: dict[str, Any]) -> str:
    """Returns one run on a line."""
    accuracy = f"{run['accuracy']:.2%}" if run["accuracy"] is not None else "–"
    pushed = f"version {run['pushed_version']}" if run["pushed_version"] else ""
    return (
        f"{run['run_id']}  {run['status']:<11} {run['preset'] or '–':<9} "
        f"{run['train_steps'] or 0:>7,} steps  {accuracy:>7}  {duration(run['seconds']):>12}  "
        f"{run['cached_stages']} of {run['stages']} cached  {pushed}"
    ).rstrip()
