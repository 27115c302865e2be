"""The runs of an output folder: each left a `run.json` in a folder of its own."""

import json
from pathlib import Path
from typing import Any

from contract.files import RECORD_FILE

LATEST = "latest"

Record = dict[str, Any]


def read_runs(output: Path) -> list[Record]:
    """Returns the record of every run in an output folder, oldest first."""
    return [
        json.loads(path.read_text()) for path in sorted(output.glob(f"runs/*/{RECORD_FILE}"))
    ]


def find_run(output: Path, name: str) -> Record:
    """Returns the record of one run.

    Args:
        output: The output folder.
        name: `latest`, the start of a run's id, a version it pushed, or the path of a
            folder with a `run.json` in it, such as another output folder.

    Raises:
        FileNotFoundError: There is no such run.
        ValueError: Several runs fit.
    """
    if (Path(name) / RECORD_FILE).is_file():
        return json.loads((Path(name) / RECORD_FILE).read_text())
    runs = read_runs(output)
    if not runs:
        raise FileNotFoundError(
            f"There are no runs in {output}. `cifar run` makes one; --output says where to "
            "look."
        )
    if name == LATEST:
        return runs[-1]
    fitting = [run for run in runs if run["run_id"].startswith(name)]
    # A run found in the cache names the version that an earlier one pushed.
    pushing = [run for run in runs if run.get("pushed_version") == name][:1]
    found = fitting or pushing
    if len(found) != 1:
        known = ", ".join(run["run_id"] for run in runs)
        error = ValueError if found else FileNotFoundError
        raise error(f"{len(found)} runs in {output} fit {name!r}. There are: {known}.")
    return found[0]


def summary(run: Record) -> Record:
    """Returns the few facts of a run that fit on a line."""
    return {
        "run_id": run["run_id"],
        "status": run["status"],
        "preset": run["config"]["preset"],
        "train_steps": run["config"]["train_steps"],
        "data_source": run.get("data_source"),
        "accuracy": run.get("accuracy"),
        "pushed_version": run.get("pushed_version"),
        "seconds": run["seconds"],
        "cached_stages": sum(stage["cached"] for stage in run["stages"].values()),
        "stages": len(run["stages"]),
    }


def last_seconds(output: Path) -> dict[str, float]:
    """Returns how long each stage took when it last ran and was not found in the cache.

    Without the Trainer, whose time is a matter of its settings, and which counts its steps.
    """
    return {
        name: stage["seconds"]
        for run in read_runs(output)
        for name, stage in run["stages"].items()
        if not stage["cached"] and name != "Trainer"
    }
