"""The runs of an output folder; each has a folder with its `run.json`."""

import dataclasses
import datetime
import logging
from collections.abc import Sequence
from pathlib import Path

import filelock

from contract import records
from contract.files import RECORD_FILE
from contract.writing import write_whole
from report import settings
from report.run_record import KILLED, PUSHED, RUNNING, RunRecord, Status
from serving import model_registry
from serving.model_registry import holds_model

log = logging.getLogger("cifar.runs")

LOCK_FILE = ".lock"
LATEST = "latest"
ID_FORMAT = "%Y-%m-%dT%H-%M-%S"


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """The facts about a run that fit on one line."""

    run_id: str
    status: Status
    preset: str
    trainer_module: str
    train_steps: int
    data_source: str | None
    accuracy: float | None
    pushed_version: str | None
    is_retired: bool  # the version is not in the serving folder any more
    seconds: float
    cached_stages: int
    stages: int


def read_runs(output: Path) -> list[RunRecord]:
    """Returns the record of every run in an output folder, oldest first.

    A damaged record is skipped with a warning. A killed run has the status `killed`, or
    `pushed` if its model reached the serving folder.
    """
    records = _read_all(output)
    if all(record.status != RUNNING for record in records):
        return records
    settled = _settle_all(records)
    return [*settled[:-1], records[-1]] if is_running(output) else settled


def record_killed(output: Path) -> list[RunRecord]:
    """Returns every record, oldest first, and records which runs were killed.

    The run that has locked the output folder calls this before it writes its record.
    """
    for partial in output.glob("runs/*/.*.partial"):
        partial.unlink()
    records = _read_all(output)
    settled = _settle_all(records)
    for before, record in zip(records, settled, strict=True):
        if before.status != record.status:
            write(record, output / "runs" / record.run_id / RECORD_FILE)
    return settled


def _read_all(output: Path) -> list[RunRecord]:
    paths = sorted(output.glob(f"runs/*/{RECORD_FILE}"))
    return [record for record in map(_read, paths) if record is not None]


def _settle_all(records: Sequence[RunRecord]) -> list[RunRecord]:
    settled: list[RunRecord] = []
    for record in records:
        settled.append(settle(record, settled))
    return settled


def _read(path: Path) -> RunRecord | None:
    """Returns a record, or None with a warning."""
    try:
        record = records.from_json(RunRecord, path.read_bytes())
        settings.read(record.config)
    except (OSError, ValueError) as error:
        log.warning("%s is not a valid record of a run and is skipped: %s", path, error)
        return None
    return record


def write(record: RunRecord, *paths: Path) -> None:
    """Writes a record to each path, atomically and with fsync."""
    for path in paths:
        write_whole(path, records.to_json(record))


def new_run_dir(output: Path, now: datetime.datetime | None = None) -> Path:
    """Creates the folder of a new run, named after the time, and returns it.

    Names always increase, even if the clock does not, because runs are ordered by name.
    """
    newest = max(filter(None, map(_started, output.glob("runs/*"))), default=None)
    start = (now or datetime.datetime.now()).replace(microsecond=0)
    if newest:
        start = max(start, newest + datetime.timedelta(seconds=1))
    run_dir = output / "runs" / start.strftime(ID_FORMAT)
    run_dir.mkdir(parents=True)
    return run_dir


def _started(run_dir: Path) -> datetime.datetime | None:
    try:
        return datetime.datetime.strptime(run_dir.name, ID_FORMAT)
    except ValueError:
        return None


def settle(record: RunRecord, earlier: Sequence[RunRecord]) -> RunRecord:
    """Returns the record of a run that ended abruptly, with its outcome.

    A model in the serving folder counts as pushed, even if the record lacks it; the model's
    `assets.extra/pushed.json` names its origin.

    Args:
        record: The record of the run; unless it is `running`, it is returned unchanged.
        earlier: The runs before it, which may have pushed the same model.
    """
    if record.status != RUNNING:
        return record
    version = find_push(record, earlier)
    if version is None:
        return dataclasses.replace(record, status=KILLED)
    return dataclasses.replace(
        record,
        status=PUSHED,
        pushed_version=str(version.number),
        pushed_path=str(version.path),
    )


def find_push(
    record: RunRecord, earlier: Sequence[RunRecord]
) -> model_registry.PushedVersion | None:
    """Returns the version that a run pushed but did not record, or None."""
    model_uri = record.uri("Trainer", "model")
    if "Pusher" not in (record.failed_stage, *record.stages) or not model_uri:
        return None
    known = {run.pushed_version for run in earlier}
    for version in reversed(model_registry.pushed_versions(record.settings.serving_model_dir)):
        is_its_model = version.provenance.model_artifact_uri == model_uri
        if is_its_model and str(version.number) not in known:
            return version
    return None


def is_running(output: Path) -> bool:
    """Returns whether a run is using the output folder now."""
    if not (output / LOCK_FILE).exists():
        return False
    try:
        with filelock.FileLock(output / LOCK_FILE, blocking=False):
            return False
    except filelock.Timeout:
        return True
    except OSError:  # a read-only folder, so no run can use it
        return False


def find_run(output: Path, name: str) -> RunRecord:
    """Returns the record of one run.

    Args:
        output: The output folder.
        name: `latest`, the start of a run's id, a version it pushed, or the path of a
            folder with a `run.json` in it, such as another output folder.

    Raises:
        FileNotFoundError: There is no such run, or its record cannot be read.
        ValueError: Several runs match.
    """
    if (Path(name) / RECORD_FILE).is_file():
        record = _read(Path(name) / RECORD_FILE)
        if record is None:
            raise FileNotFoundError(
                f"{Path(name) / RECORD_FILE} is not a valid record of a run; `cifar "
                "runs` lists the runs of an output folder."
            )
        return record
    runs = read_runs(output)
    if not runs:
        raise FileNotFoundError(
            f"There are no runs in {output}. `cifar run` makes one; --output says where to "
            "look."
        )
    if name == LATEST:
        return runs[-1]
    fitting = [run for run in runs if run.run_id.startswith(name)]
    # A cached run names the version that an earlier run pushed.
    pushing = [run for run in runs if run.pushed_version == name][:1]
    found = fitting or pushing
    if len(found) != 1:
        known = ", ".join(run.run_id for run in runs)
        error = ValueError if found else FileNotFoundError
        raise error(f"{len(found)} runs in {output} match {name!r}. There are: {known}.")
    return found[0]


def summary(run: RunRecord) -> RunSummary:
    """Returns the facts about a run that fit on one line."""
    return RunSummary(
        run_id=run.run_id,
        status=run.status,
        preset=run.settings.preset,
        trainer_module=run.settings.trainer_module,
        train_steps=run.settings.train_steps,
        data_source=run.data_source,
        accuracy=run.accuracy,
        pushed_version=run.pushed_version,
        is_retired=bool(run.pushed_path) and not holds_model(Path(run.pushed_path or "")),
        seconds=run.seconds,
        cached_stages=sum(stage.cached for stage in run.stages.values()),
        stages=len(run.stages),
    )


def last_seconds(runs: Sequence[RunRecord]) -> dict[str, float]:
    """Returns the time that each stage took when it last ran without the cache.

    Without the Trainer, whose time depends on its settings and which reports its steps.
    """
    return {
        name: stage.seconds
        for run in runs
        for name, stage in run.stages.items()
        if not stage.cached and name != "Trainer"
    }
