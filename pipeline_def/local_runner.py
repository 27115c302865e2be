"""Runs the pipeline on this machine; bad input fails before the expensive work."""

import contextlib
import dataclasses
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import rich.console

from contract import estimator, imports, records, terminal
from contract.files import PAGE_FILE, RECORD_FILE
from contract.progress import Progress
from contract.warm_start import LATEST, NONE
from data_sources import dataset
from pipeline_def import retention, run_state
from pipeline_def.batches import Batches, batches_of
from pipeline_def.beam import runner
from pipeline_def.config import PipelineConfig
from pipeline_def.console import RunConsole, quiet
from pipeline_def.recorder import Recorder
from report import data_change, run_record, run_report, runs, settings
from report.data_change import DataFile
from report.run_record import RunRecord
from serving import warm_start

if TYPE_CHECKING:
    from pipeline_def.dry_run import PlannedStage

log = logging.getLogger(__name__)

TEMPORARY_DIR = ".tmp"
RECORD_VARIABLE = "CIFAR_RUN_RECORD"
ON_END_SECONDS = 300.0  # limit for the command of --on-end
LOCK_SECONDS = 1.0  # longer than `cifar status` holds the lock for its check


def run(
    config: PipelineConfig,
    verbose: bool = False,
    beam_runner: runner.Runner = runner.IN_THIS_PROCESS,
    on_end: str = "",
) -> RunRecord:
    """Runs the pipeline, keeps `run.json` up to date and returns its content.

    Args:
        config: The settings.
        verbose: Shows every log line.
        beam_runner: Where the Beam stages run.
        on_end: A shell command that gets the record when the run has ended, in any way.

    Raises:
        ConnectionError, RuntimeError: The Beam engine or its workers cannot do the work.
        OSError: The output folder cannot be written, or another run is writing to it.
        ValueError, FileNotFoundError: The data is missing or malformed.
        KeyboardInterrupt: The run was stopped; `run.json` then says `stopped`.
        Exception: Whatever a stage raises; `run.json` then says `failed`, where and why.
    """
    config = with_absolute_paths(config)
    output = Path(config.output_dir)
    recorder: Recorder | None = None
    try:
        with sole_run(output), temporary_files_in(output / TEMPORARY_DIR):
            earlier = runs.record_killed(output)
            recorder = Recorder(config, earlier)
            run_recorded(config, verbose, beam_runner, recorder, runs.last_seconds(earlier))
            return recorder.record
    finally:  # when the folder is free for the next run
        if recorder and on_end:
            tell(on_end, recorder)


def run_recorded(
    config: PipelineConfig,
    verbose: bool,
    beam_runner: runner.Runner,
    recorder: Recorder,
    last_seconds: Mapping[str, float],
) -> None:
    """Finds the data and runs every stage; records how the run ended, and raises errors."""
    try:
        data = locate(config)
        check_start(config, data)
        batches = batches_of(data)
        recorder.keep(
            dataclasses.replace(
                recorder.record,
                data_source=data.source,
                **files_of(data, recorder.earlier),
                config={**recorder.record.config, **batches.as_record()},
                state=run_state.fingerprint(config, batches),
            )
        )
        with quiet(recorder.log_file, verbose, last_seconds) as console:
            try:
                run_stages(config, batches, beam_runner, recorder, console)
            except BaseException:
                log.exception("The run failed")
                console.say(f"The log of this run: {recorder.log_file}")
                raise
    except BaseException as error:
        recorder.end_early(error)
        raise
    finally:
        finish(recorder, config)
        clean_up(config)


def files_of(data: dataset.Dataset, earlier: Sequence[RunRecord]) -> dict[str, Any]:
    """Returns what the record of a run keeps of its data, and of their change."""
    files = {
        name: DataFile(sha256, data.images.get(name, 0))
        for name, sha256 in data.checksums.items()
    }
    pushed = [run for run in earlier if run.status == run_record.PUSHED and run.data_files]
    if not pushed:
        return {"data_files": files}
    change = data_change.compare(pushed[-1].run_id, pushed[-1].data_files, files)
    return {"data_files": files, "data_change": change}


def locate(config: PipelineConfig, progress: Progress | None = None) -> dataset.Dataset:
    """Returns the batches that a config names, every file checked."""
    return dataset.locate(
        config.data, Path(config.data_dir), progress, options=config.data_options
    )


def check_start(config: PipelineConfig, data: dataset.Dataset) -> None:
    """Raises an error if training cannot start from the version that `warm_start` names."""
    if config.warm_start not in (NONE, LATEST):
        model_dir = settings.read(config.as_record()).serving_model_dir
        warm_start.check(model_dir, config.warm_start, data.layout.image_set.class_names)


def find_equal(config: PipelineConfig) -> RunRecord | None:
    """Returns the last run that pushed, if nothing has changed since; else None.

    Raises:
        OSError, ValueError: The data is missing or malformed.
    """
    config = with_absolute_paths(config)
    data = locate(config)
    return run_state.find_equal(config, batches_of(data))


def dry_run(config: PipelineConfig) -> "Iterator[PlannedStage]":
    """Yields what would happen to each stage, and why; nothing is written or fetched.

    Raises:
        ValueError, FileNotFoundError: The data is missing or malformed.
    """
    config = with_absolute_paths(config)
    data_dir = Path(config.data_dir)
    batches = None
    if dataset.is_ready(config.data, data_dir):
        quiet_progress = Progress(rich.console.Console(quiet=True))
        data = locate(config, quiet_progress)
        batches = batches_of(data)
    imports.silence()
    with imports.fast():
        from pipeline_def import dry_run
    logging.getLogger("absl").setLevel(logging.ERROR)
    yield from dry_run.plan(config, batches)


def with_absolute_paths(config: PipelineConfig) -> PipelineConfig:
    """Returns the config with absolute paths."""
    return dataclasses.replace(
        config,
        data_dir=str(Path(config.data_dir).resolve()),
        output_dir=str(Path(config.output_dir).resolve()),
        serving_dir=config.serving_dir and str(Path(config.serving_dir).resolve()),
        predict_batch=config.predict_batch and str(Path(config.predict_batch).resolve()),
    )


def finish(recorder: Recorder, config: PipelineConfig) -> None:
    """Writes the record and the report of an ended run; failures become warnings."""
    try:
        recorder.keep(recorder.record)
    except OSError as error:  # the record on disk is good enough
        warn(f"{recorder.run_dir / RECORD_FILE} is not up to date: {error}.")
    if recorder.record.status != run_record.STOPPED:
        pages = (recorder.run_dir / PAGE_FILE, Path(config.output_dir) / PAGE_FILE)
        write_page(config, recorder.record, *pages)


def run_stages(
    config: PipelineConfig,
    batches: Batches,
    beam_runner: runner.Runner,
    recorder: Recorder,
    console: RunConsole,
) -> None:
    """Imports TFX and runs every stage."""
    is_ours = config.trainer_module == estimator.DEFAULT
    of_module = "" if is_ours else f" of {config.trainer_module}"
    console.say(
        f"Preset {config.preset}{of_module}: {config.hyper_parameters.train_steps:,} steps, "
        f"data from {batches.directory} ({recorder.record.data_source}), output in "
        f"{config.output_dir}"
    )
    change = recorder.record.data_change
    if change and not change.is_empty:
        console.say(f"Data {data_change.in_words(change)}")
    imports.log_warnings()
    with console.stage("import TFX"), imports.fast():
        # Importing TensorFlow and TFX takes longer than many runs, so everything that can be
        # checked without them has been checked.
        from pipeline_def import execution
    execution.run_stages(config, batches, beam_runner, recorder, console)


def clean_up(config: PipelineConfig) -> None:
    """Deletes what none of the newest runs needs; failures become warnings."""
    try:
        plan, size = retention.clean(
            Path(config.output_dir), config.keep_runs, config.metadata_url
        )
    except Exception as error:
        log.exception("The clean-up failed")
        warn(f"old runs were not cleaned up ({error}); `cifar clean` tries again.")
    else:
        if not plan.is_empty:
            log.info("%s", retention.in_words(plan, size))


def tell(command: str, recorder: Recorder) -> None:
    """Runs a shell command with the record of a run; failures become warnings.

    The command gets the record on standard input, and the file's path in CIFAR_RUN_RECORD.
    """
    path = recorder.run_dir / RECORD_FILE
    try:
        ended = subprocess.run(
            command,
            shell=True,
            input=records.to_json(recorder.record).encode(),
            env=os.environ | {RECORD_VARIABLE: str(path)},
            timeout=ON_END_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        warn(f"--on-end failed: {error}")
    else:
        if ended.returncode:
            warn(f"--on-end ended with exit code {ended.returncode}: {command}")


@contextlib.contextmanager
def sole_run(output: Path) -> Iterator[None]:
    """Locks the output folder for one run at a time.

    Raises:
        OSError: The folder cannot be created or written, or another run holds it.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(output / runs.LOCK_FILE)
        lock.acquire(timeout=LOCK_SECONDS)
    except filelock.Timeout:
        raise BlockingIOError(
            f"Another run is writing to {output}. Wait until it ends, or choose another "
            "folder with --output."
        ) from None
    except OSError as error:
        raise OSError(
            f"The output folder {output} cannot be written ({error.strerror}). Choose another "
            "with --output, free space on its disk, or change its permissions."
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """Redirects all temporary files to a folder, which starts empty and is then deleted."""
    before = os.environ.get("TMPDIR"), tempfile.tempdir
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        os.environ.pop("TMPDIR")
        if before[0] is not None:
            os.environ["TMPDIR"] = before[0]
        tempfile.tempdir = before[1]
        shutil.rmtree(folder, ignore_errors=True)


def write_page(config: PipelineConfig, record: RunRecord, *paths: Path) -> None:
    """Writes the report of an ended run, and the page of all runs.

    If a page cannot be written, prints a warning and does nothing else.
    """
    try:
        run_report.write_history(Path(config.output_dir))
        run_report.write_report(record, *paths, metadata_url=config.metadata_url)
    except Exception as error:
        log.exception("The report could not be written")
        warn(f"this run has no report ({error}); `cifar report` tries again.")


def warn(line: str) -> None:
    """Prints a warning on standard error."""
    terminal.say(f"Warning: {line}", err=True)
