"""`cifar predict --batch`: predictions of whole folders and files through Beam."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import filelock

from pipeline_def.beam import probe
from pipeline_def.beam.job import Job
from pipeline_def.beam.runner import IN_THIS_PROCESS, Runner
from serving import model_registry
from serving.batch import record as batch_record
from serving.batch import results, sources
from serving.batch.record import BatchRecord
from serving.batch.transform import PredictSources

LOCK_FILE = ".lock"
# While one thread waits for the model, the other writes results.
_TWO_THREADS = ("--direct_running_mode=multi_threading", "--direct_num_workers=2")


def run(
    path: Path,
    folder: Path,
    model_dir: Path,
    format_name: str = "parquet",
    runner: Runner = IN_THIS_PROCESS,
) -> BatchRecord:
    """Predicts every image of a path and writes the results to a folder.

    After an interruption, a new call continues: it skips batches whose file exists. Only one
    call at a time writes to a folder.

    Args:
        path: See `sources.find`.
        folder: For the results; created if needed.
        model_dir: A version, or the folder of all versions, whose newest predicts.
        format_name: One of `results.FORMATS`.
        runner: Where the work runs.

    Raises:
        FileNotFoundError: There is no model, or nothing to predict.
        ValueError: The folder contains predictions of something else, or is part of the input.
        BlockingIOError: Another call writes to it.
        RuntimeError: A worker failed.
    """
    started = time.monotonic()
    model = find_model(model_dir)
    if folder.resolve().is_relative_to(path.resolve()):
        raise ValueError(
            f"The predictions would be part of their own input: {folder} is in {path}. Choose "
            "a folder outside."
        )
    found = sources.find(path)
    record = BatchRecord(
        str(model.resolve()), str(path.resolve()), sources.digest(found), format_name
    )
    folder.mkdir(parents=True, exist_ok=True)
    with sole_writer(folder):
        check_folder(folder, record)
        results.remove_partial(folder)
        batch_record.write(folder, record)
        if runner.is_elsewhere:
            probe.check_runner(runner, folder)
        with Job(list(runner.arguments or _TWO_THREADS), runner.flink_url) as job:
            _ = job | PredictSources(model.resolve(), found, folder.resolve(), format_name)
        images, failed = results.count(folder, format_name)
        seconds = round(time.monotonic() - started, 1)
        record = dataclasses.replace(
            record, status="done", images=images, failed=failed, seconds=seconds
        )
        batch_record.write(folder, record)
    return record


@contextlib.contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Locks a folder of predictions.

    Raises:
        BlockingIOError: Another call holds it.
    """
    try:
        with filelock.FileLock(folder / LOCK_FILE, timeout=0):
            try:
                yield
            finally:
                (folder / LOCK_FILE).unlink()
    except filelock.Timeout:
        raise BlockingIOError(
            f"Another call is writing to {folder}. Wait until it ends, or choose another "
            "folder."
        ) from None


def find_model(model_dir: Path) -> Path:
    """Returns the version folder, or the newest version below it.

    Raises:
        FileNotFoundError: There is none.
    """
    if model_registry.holds_model(model_dir):
        return model_dir
    versions = model_registry.pushed_versions(model_dir)
    if not versions:
        raise FileNotFoundError(
            f"{model_dir} is not a model and has no versions. `cifar run` pushes one; "
            "--model-dir says where to look."
        )
    return versions[-1].path


def check_folder(folder: Path, record: BatchRecord) -> None:
    """Raises ValueError if a folder has predictions of another input or model."""
    there = batch_record.read(folder)
    if there is None:
        if any(folder.glob(f"{results.PREDICTIONS}-*")):
            raise ValueError(
                f"{folder} has predictions but no {batch_record.RECORD_FILE} that describes "
                "them. Choose an empty folder."
            )
        return
    for name in ("model", "input", "format_name"):
        before, now = getattr(there, name), getattr(record, name)
        if before != now:
            raise ValueError(
                f"{folder} has predictions with {name} {before}; this call has {now}. Choose "
                "another folder, or delete that one."
            )
    if there.input_digest != record.input_digest:
        raise ValueError(
            f"{folder} has predictions of {there.input}, whose files have changed since. "
            "Choose another folder, or delete that one."
        )
