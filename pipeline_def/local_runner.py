"""Runs the pipeline on this machine: bad input first, expensive work after."""

import contextlib
import dataclasses
import datetime
import logging
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import filelock

from contract import imports, stopping
from contract.files import PAGE_FILE
from contract.progress import duration
from data_sources import dataset
from pipeline_def import failures
from pipeline_def.batches import Batches
from pipeline_def.config import PipelineConfig
from pipeline_def.console import RunConsole, quiet
from report import run_report, runs
from serving import model_registry

log = logging.getLogger(__name__)

TEMPORARY_DIR = ".tmp"
LOCK_SECONDS = 1.0  # longer than `cifar status` holds the lock to see whether a run does


def run(config: PipelineConfig, verbose: bool = False) -> runs.Record:
    """Runs the pipeline, keeps `run.json` up to date and returns what is in it.

    Raises:
        OSError: The output folder cannot be written, or another run is writing to it.
        ValueError, FileNotFoundError: The data is not there or malformed.
        KeyboardInterrupt: The run was told to stop; `run.json` then says `stopped`.
        Exception: Whatever a stage raises; `run.json` then says `failed`, where and why.
    """
    started = time.monotonic()
    config = dataclasses.replace(
        config,
        data_dir=str(Path(config.data_dir).resolve()),
        output_dir=str(Path(config.output_dir).resolve()),
        serving_dir=config.serving_dir and str(Path(config.serving_dir).resolve()),
    )
    output = Path(config.output_dir)
    with sole_run(output), temporary_files_in(output / TEMPORARY_DIR):
        earlier = runs.record_killed(output)
        run_dir = runs.new_run_dir(output)
        record: runs.Record = {
            "run_id": run_dir.name,
            "status": runs.RUNNING,
            "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "config": config.as_record(),
            "stages": {},
            "seconds": 0.0,
            "log": str(run_dir / "run.log"),
        }

        def keep() -> None:
            record["seconds"] = round(time.monotonic() - started, 1)
            runs.write(record, run_dir / runs.RECORD_FILE, output / runs.RECORD_FILE)

        try:
            keep()
            data = dataset.locate(config.data, Path(config.data_dir))
            batches = Batches(str(data.directory), data.fingerprint)
            record["data_source"] = data.source
            record["config"] |= batches.as_record()
            with quiet(run_dir / "run.log", verbose, runs.last_seconds(earlier)) as console:
                try:
                    run_stages(config, batches, record, console, keep)
                except BaseException:
                    log.exception("The run failed")
                    console.say(f"The log of this run: {run_dir / 'run.log'}")
                    raise
        except BaseException as error:
            record |= ended_early(record, earlier, error)
            raise
        finally:
            try:
                keep()
            except OSError as error:  # what was kept before says enough
                warn(f"{run_dir / runs.RECORD_FILE} is not up to date: {error}.")
            if record["status"] != runs.STOPPED:
                write_page(config, record, run_dir / PAGE_FILE, output / PAGE_FILE)
    return record


def ended_early(
    record: runs.Record, earlier: Sequence[runs.Record], error: BaseException
) -> runs.Record:
    """Returns what a record says of a run that an error or a signal ended."""
    settled = runs.settle(record, earlier)  # the model may be pushed already
    if settled["status"] == runs.KILLED:
        is_stopped = isinstance(error, KeyboardInterrupt)
        settled = {"status": runs.STOPPED if is_stopped else runs.FAILED}
    return settled | {"error": str(error) or type(error).__name__}


def run_stages(
    config: PipelineConfig,
    batches: Batches,
    record: runs.Record,
    console: RunConsole,
    keep: Callable[[], None],
) -> None:
    """Runs every stage and fills in `record` as it goes; `keep` writes it down.

    Once the Pusher is done, nothing that comes after it fails the run.
    """
    console.say(
        f"Preset {config.preset}: {config.hyper_parameters.train_steps:,} steps, data from "
        f"{batches.directory} ({record['data_source']}), output in {config.output_dir}"
    )
    imports.log_warnings()
    with console.stage("import TFX"), imports.without_garbage_collection():
        # Importing TensorFlow and TFX takes longer than many a run; whatever can go wrong
        # without them has gone wrong by now.
        from components import pusher
        from contract import metadata
        from pipeline_def import launch, pipeline, results

    metadata.check(config.output_dir, config.metadata_url)
    connection = metadata.connection_to(config.output_dir, config.metadata_url)
    launch.abandon_killed(connection, Path(config.output_dir) / "pipeline")
    pusher.remove_abandoned(pipeline.serving_model_dir(config))
    baseline_version = choose_baseline(config, batches)

    @contextlib.contextmanager
    def watch(name: str) -> Iterator[Callable[[bool], None]]:
        record["failed_stage"] = name
        keep()
        with console.stage(name) as finished:
            yield finished
            stopping.check()
        del record["failed_stage"]

    outputs = {}
    definition = pipeline.create_pipeline(config, batches, baseline_version)
    try:
        for stage in launch.run_nodes(definition, connection, watch, console.say):
            record["stages"][stage.name] = {
                "seconds": round(stage.seconds, 2),
                "cached": stage.cached,
                "outputs": {name: artifact.uri for name, artifact in stage.outputs.items()},
            }
            outputs[stage.name] = stage.outputs
            if stage.name == "Pusher":
                record |= results.read_push(stage.outputs["pushed_model"])
                keep()
                record |= results.read_results(config, outputs)
    except Exception as error:
        name = record.get("failed_stage", "The summary")
        explained = failures.explain(error, name, Path(config.output_dir))
        if record["status"] == runs.RUNNING:
            raise explained from error
        log.exception("A stage after the Pusher failed")
        record["error"] = str(explained)
        console.warn(f"{name} failed, after the Pusher was done: {explained}")


def choose_baseline(config: PipelineConfig, batches: Batches) -> str:
    """Returns the version this run's candidate is compared with: fixed when the run starts."""
    from components import baseline_model
    from pipeline_def import pipeline

    if config.baseline_version != baseline_model.LATEST:
        return config.baseline_version
    newest = model_registry.newest_other_version(
        pipeline.serving_model_dir(config), pipeline.training_fingerprint(config, batches)
    )
    return str(newest.number) if newest else baseline_model.NONE


@contextlib.contextmanager
def sole_run(output: Path) -> Iterator[None]:
    """Holds the output folder for one run at a time.

    Raises:
        OSError: The folder cannot be made or written, or another run holds it.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(output / runs.LOCK_FILE)
        lock.acquire(timeout=LOCK_SECONDS)
    except filelock.Timeout:
        raise BlockingIOError(
            f"Another run is writing to {output}. Wait until it ends, or give this one a "
            "folder of its own with --output."
        ) from None
    except OSError as error:
        raise OSError(
            f"The output folder {output} cannot be written ({error.strerror}). Give another "
            "with --output, make room on its disk, or change its permissions."
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """Has everybody's temporary files written to a folder: empty before, gone afterwards."""
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


def write_page(config: PipelineConfig, record: runs.Record, *paths: Path) -> None:
    """Writes the report of a run that ended, well or not.

    A page that cannot be drawn is said on standard error, and changes nothing else.
    """
    try:
        run_report.write_report(record, *paths, metadata_url=config.metadata_url)
    except Exception as error:
        log.exception("The report could not be written")
        warn(f"this run has no report ({error}); `cifar report` tries again.")


def warn(line: str) -> None:
    """Says what went wrong and is not worth ending for, on standard error."""
    print(f"Warning: {line}", file=sys.stderr)


def summary_lines(record: runs.Record) -> list[str]:
    """Returns what a person reads at the end of a run."""
    lines = [""]
    if "accuracy" in record:
        lines += result_lines(record)
    lines += [
        f"Time      {duration(record['seconds'])}",
        f"Report    {Path(record['config']['output_dir']) / PAGE_FILE}",
    ]
    if record["status"] == runs.PUSHED:
        return [*lines, f"Pushed    {record['pushed_path']}", "", *next_lines(record)]
    return [*lines, "Pushed    nothing; what was pushed before is untouched"]


def result_lines(record: runs.Record) -> list[str]:
    """Returns how good the model is, and what the gates and the training came to."""
    lines = [
        f"Accuracy {record['accuracy']:.2%} on {record['eval_examples']:,} eval images "
        f"(top 3: {record['top_3_accuracy']:.2%}, cross-entropy {record['cross_entropy']:.3f})",
        "",
    ]
    for name, accuracy in record["class_accuracy"].items():
        lines.append(f"  {name:<12} {accuracy:7.2%}  {'▇' * round(accuracy * 30)}")
    rate = record["examples_per_second"]
    return [
        *lines,
        "",
        f"Gate      {record['gate']['verdict']}",
        f"Serving   {record['serving_check']['verdict']}",
        f"Training  {record['train_steps']:,} steps"
        + (f", {rate:,.0f} images/s" if rate else ""),
    ]


def next_lines(record: runs.Record) -> list[str]:
    """Returns the commands to go on with, as they can be pasted into this terminal."""
    cifar = Path(sys.argv[0])
    if cifar.is_absolute() and cifar.is_relative_to(Path.cwd()):
        cifar = cifar.relative_to(Path.cwd())
    output = shlex.quote(os.path.relpath(record["config"]["output_dir"]))
    where = "" if output == "output" else f" --output {output}"
    return [
        f"Next      {cifar} serve{where}",
        f"          {cifar} predict --sample 10 --png ten.png",
        f"          {cifar.with_name('tensorboard')} --logdir {record['tensorboard_dir']}",
    ]
