"""Frees disk space: deletes what no kept run and no served or pinned version needs.

Lineage stays: the metadata keep every row and mark artifacts as deleted, and each run keeps its
`run.json`. Artifacts are marked before they are deleted, so that no cache offers incomplete
ones, and the next clean-up finishes one that was killed.
"""

import dataclasses
import datetime
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from contract import metadata
from contract.files import DATA_GATE_FILE, PAGE_FILE, RECORD_FILE
from contract.training_folder import search_of, training_of
from pipeline_def.recorder import LOG_FILE
from report import runs
from report.run_record import RunRecord
from serving import version_ledger

OF_A_RUN = (LOG_FILE, PAGE_FILE, DATA_GATE_FILE)  # beside its record, which stays


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to delete.

    Attributes:
        runs: Runs whose logs and pages are deleted; their records stay.
        artifacts: Folders of artifacts below the pipeline's root.
        trainings: Folders of trainings and of searches.
        kept_runs: Runs that need the rest.
    """

    runs: Sequence[RunRecord]
    artifacts: Sequence[Path]
    trainings: Sequence[Path]
    kept_runs: Sequence[RunRecord]

    @property
    def is_empty(self) -> bool:
        """Returns whether there is nothing to do."""
        return not (self.runs or self.artifacts or self.trainings)


def clean(
    output: Path, keep_runs: int, metadata_url: str = "", dry_run: bool = False
) -> tuple[Plan, int]:
    """Deletes what is not needed; returns what that is, and its size in bytes.

    The caller must hold the output folder (`local_runner.sole_run`).

    Args:
        output: The output folder.
        keep_runs: How many of the newest runs are kept completely.
        metadata_url: The metadata server; empty for SQLite in the output folder.
        dry_run: Whether to delete nothing.

    Raises:
        ConnectionError, ValueError: The metadata are damaged or do not answer.
        OSError: A file cannot be deleted.
    """
    output = output.resolve()
    metadata.check(output, metadata_url)
    plan = make_plan(output, keep_runs)
    size = sum(map(bytes_of, _places(plan, output)))
    if not dry_run and not plan.is_empty:
        mark(output, metadata_url, plan.artifacts, is_gone=False)
        for folder in plan.artifacts:
            _delete_artifact(folder)
        mark(output, metadata_url, plan.artifacts, is_gone=True)
        for folder in plan.trainings:
            shutil.rmtree(folder)
            folder.with_name(f"{folder.name}.lock").unlink(missing_ok=True)
        for run in plan.runs:
            folder = output / "runs" / run.run_id
            runs.write(dataclasses.replace(run, is_cleaned=True), folder / RECORD_FILE)
            for name in OF_A_RUN:
                (folder / name).unlink(missing_ok=True)
    return plan, size


def make_plan(output: Path, keep_runs: int) -> Plan:
    """Returns what may be deleted from an output folder."""
    records = runs.read_runs(output)
    newest = records[-keep_runs:]
    needed_runs = {run.run_id for run in [*newest, *pushers_of_needed_versions(records)]}
    kept = [run for run in records if run.run_id in needed_runs]
    # If the folder was moved, recorded paths differ, but node, output and number are the same.
    needed = {
        Path(uri).parts[-3:]
        for run in kept
        for stage in run.stages.values()
        for uri in stage.outputs.values()
    }
    trainings = {run.training_fingerprint for run in kept}
    known = {run.training_fingerprint for run in records}
    for fingerprints in (trainings, known):
        fingerprints |= set(map(search_of, fingerprints))
    # Until enough runs have been made, what is not on record may be wanted yet.
    oldest = min(map(started, newest)) if len(records) > keep_runs else 0.0
    return Plan(
        runs=[run for run in records if run not in kept and not run.is_cleaned],
        artifacts=[
            folder
            for folder in sorted((output / "pipeline").glob("*/*/*"))
            if folder.name.isdigit() and folder.parts[-3:] not in needed
        ],
        trainings=[
            folder
            for kind in ("checkpoints", "tuning")
            for folder in sorted((output / kind).glob("*"))
            if folder.is_dir()
            and training_of(folder) not in trainings
            # Not on record, it may belong to a kept run whose record does not name it.
            and (training_of(folder) in known or newest_change(folder) < oldest)
        ],
        kept_runs=kept,
    )


def pushers_of_needed_versions(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Returns the runs that pushed a version that is served or pinned.

    A later run that takes the push from the cache names the version too, but did not push it.
    """
    first: dict[str, RunRecord] = {}
    for run in records:
        if run.pushed_path:
            first.setdefault(run.pushed_path, run)
    return [run for path, run in first.items() if is_served_or_pinned(Path(path))]


def is_served_or_pinned(path: Path) -> bool:
    """Returns whether a version is served or pinned, or a rollback's copy of it is."""
    for version in version_ledger.list_versions(path.parent):
        numbers = (version.number, version.record.provenance.restored_from)
        is_needed = version.state == version_ledger.SERVED or version.record.is_pinned
        if is_needed and int(path.name) in numbers:
            return True
    return False


def started(run: RunRecord) -> float:
    """Returns the Unix time at which a run began; 0 if it is not recorded."""
    try:
        return datetime.datetime.fromisoformat(run.started).timestamp()
    except ValueError:
        return 0.0


def newest_change(folder: Path) -> float:
    """Returns the Unix time of the newest file below a folder."""
    return max((path.stat().st_mtime for path in folder.rglob("*")), default=0.0)


def mark(output: Path, metadata_url: str, folders: Iterable[Path], is_gone: bool) -> None:
    """Marks the artifacts in folders as deleted, or about to be, in the metadata.

    This includes those that a killed clean-up deleted without marking them.
    """
    from ml_metadata.metadata_store import metadata_store
    from ml_metadata.proto import metadata_store_pb2 as proto

    if not metadata_url and not (output / metadata.SQLITE_FILE).is_file():
        return
    store = metadata_store.MetadataStore(metadata.connection_to(output, metadata_url))
    uris = set(map(str, folders))
    marked = proto.Artifact.MARKED_FOR_DELETION
    found = [
        artifact
        for artifact in store.get_artifacts()
        if artifact.uri in uris
        or (is_gone and artifact.state == marked and _is_gone(artifact.uri, output))
    ]
    for artifact in found:
        artifact.state = proto.Artifact.DELETED if is_gone else marked
    if found:
        store.put_artifacts(found)


def _is_gone(uri: str, output: Path) -> bool:
    """Returns whether an artifact of an output folder no longer exists."""
    return Path(uri).is_relative_to(output) and not Path(uri).exists()


def _delete_artifact(folder: Path) -> None:
    """Deletes the folder of an artifact, and TFX's folder of the execution that made it."""
    shutil.rmtree(folder)
    execution = folder.parents[1] / ".system/executor_execution" / folder.name
    shutil.rmtree(execution, ignore_errors=True)


def _places(plan: Plan, output: Path) -> list[Path]:
    """Returns each file and folder to delete."""
    of_runs = [output / "runs" / run.run_id / name for run in plan.runs for name in OF_A_RUN]
    return [*plan.artifacts, *plan.trainings, *of_runs]


def bytes_of(place: Path) -> int:
    """Returns the size of a file, or of all files below a folder; 0 if it does not exist."""
    files = [place] if place.is_file() else place.rglob("*")
    return sum(path.stat().st_size for path in files if path.is_file())


def in_words(plan: Plan, size: int, dry_run: bool = False) -> str:
    """Returns what a clean-up did, on one line."""
    if plan.is_empty:
        return f"Nothing to delete: the kept runs ({len(plan.kept_runs)}) need everything."
    done = "Would delete" if dry_run else "Deleted"
    return (
        f"{done} {size / 1e6:,.1f} MB. Artifacts: {len(plan.artifacts)}, trainings: "
        f"{len(plan.trainings)}, logs of runs: {len(plan.runs)}. Runs kept completely: "
        f"{len(plan.kept_runs)}."
    )
