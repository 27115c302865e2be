"""`cifar predict --batch`: predictions of whole folders and files through Beam."""

import dataclasses
import time
from pathlib import Path

from pipeline_def.beam import probe
from pipeline_def.beam.job import Job
from pipeline_def.beam.runner import IN_THIS_PROCESS, Runner
from serving import model_registry
from serving.batch import record as batch_record
from serving.batch import results, sources
from serving.batch.record import BatchRecord
from serving.batch.transform import PredictSources

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

    After an interruption, a new call continues: it skips batches whose file exists.

    Args:
        path: See `sources.find`.
        folder: For the results; created if needed.
        model_dir: A version, or the folder of all versions, whose newest predicts.
        format_name: One of `results.FORMATS`.
        runner: Where the work runs.

    Raises:
        FileNotFoundError: There is no model, or nothing to predict.
        ValueError: The folder contains predictions of something else.
        RuntimeError: A worker failed.
    """
    started = time.monotonic()
    model = find_model(model_dir)
    found = sources.find(path)
    record = BatchRecord(
        str(model.resolve()), str(path.resolve()), sources.digest(found), format_name
    )
    folder.mkdir(parents=True, exist_ok=True)
    check_folder(folder, record)
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
    for name in ("model", "input", "input_digest", "format_name"):
        before, now = getattr(there, name), getattr(record, name)
        if before != now:
            raise ValueError(
                f"{folder} has predictions with {name} {before}; this call has {now}. Choose "
                "another folder, or delete that one."
            )
