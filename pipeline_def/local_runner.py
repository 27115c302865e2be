"""Runs the pipeline on this machine: bad input first, expensive work after."""

import contextlib
import dataclasses
import datetime
import json
import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock

from contract import imports
from contract.files import PAGE_FILE
from contract.progress import duration
from data_sources import dataset
from pipeline_def.config import PipelineConfig
from pipeline_def.console import RunConsole, quiet
from report import run_report, runs
from serving import model_registry

log = logging.getLogger(__name__)


def run(config: PipelineConfig, verbose: bool = False) -> dict[str, Any]:
    """Runs the pipeline, writes `run.json` and returns what is in it.

    Raises:
        OSError: The output folder cannot be written, or another run is writing to it.
        ValueError, FileNotFoundError: The data is not there or malformed.
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
    with sole_run(output):
        run_dir = output / "runs" / datetime.datetime.now().strftime("%Y-%m-%dT%H-%M-%S")
        record: dict[str, Any] = {
            "run_id": run_dir.name,
            "status": "failed",
            "config": config.as_record(),
            "stages": {},
        }
        try:
            data = dataset.locate(config.data, Path(config.data_dir))
            config = dataclasses.replace(
                config, data_dir=str(data.directory), data_fingerprint=data.fingerprint
            )
            record |= {"data_source": data.source, "config": config.as_record()}
            last_seconds = runs.last_seconds(output)
            with quiet(run_dir / "run.log", verbose, last_seconds) as console:
                try:
                    run_stages(config, data, record, console)
                except BaseException:
                    log.exception("The run failed")
                    console.say(f"The log of this run: {run_dir / 'run.log'}")
                    raise
        except BaseException as error:
            record["error"] = str(error) or type(error).__name__
            raise
        finally:
            record["seconds"] = round(time.monotonic() - started, 1)
            record["log"] = str(run_dir / "run.log")
            write_record(record, run_dir / "run.json", output / "run.json")
            write_page(config, record, run_dir / PAGE_FILE, output / PAGE_FILE)
    return record


def run_stages(
    config: PipelineConfig, data: dataset.Dataset, record: dict[str, Any], console: RunConsole
) -> None:
    """Runs every stage and fills in `record` as it goes."""
    console.say(
        f"Preset {config.preset}: {config.train_steps:,} steps, data from {data.directory} "
        f"({data.source}), output in {config.output_dir}"
    )
    imports.log_warnings()
    with console.stage("import TFX"), imports.without_garbage_collection():
        # Importing TensorFlow and TFX takes longer than many a run; whatever can go wrong
        # without them has gone wrong by now.
        from contract import metadata
        from pipeline_def import launch, pipeline, results

    connection = metadata.connection_to(config.output_dir, config.metadata_url)
    config = dataclasses.replace(config, baseline_version=choose_baseline(config))

    @contextlib.contextmanager
    def watch(name: str) -> Iterator[Callable[[bool], None]]:
        record["failed_stage"] = name
        with console.stage(name) as finished:
            yield finished
        del record["failed_stage"]

    outputs = {}
    definition = pipeline.create_pipeline(config)
    for stage in launch.run_nodes(definition, connection, watch, console.say):
        record["stages"][stage.name] = {
            "seconds": round(stage.seconds, 2),
            "cached": stage.cached,
            "outputs": {name: artifact.uri for name, artifact in stage.outputs.items()},
        }
        outputs[stage.name] = stage.outputs
    record |= results.read_results(config, outputs)


def choose_baseline(config: PipelineConfig) -> str:
    """Returns the version this run's candidate is compared with: fixed when the run starts."""
    from components import baseline_model
    from pipeline_def import pipeline

    if config.baseline_version != baseline_model.LATEST:
        return config.baseline_version
    newest = model_registry.newest_other_version(
        pipeline.serving_model_dir(config), pipeline.training_fingerprint(config)
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
        lock = filelock.FileLock(output / ".lock", blocking=False)
        lock.acquire()
    except filelock.Timeout:
        raise BlockingIOError(
            f"Another run is writing to {output}. Wait until it ends, or give this one a "
            "folder of its own with --output."
        ) from None
    except OSError as error:
        raise OSError(
            f"The output folder {output} cannot be written ({error.strerror}). Give another "
            "with --output, or change its permissions."
        ) from error
    try:
        yield
    finally:
        lock.release()


def write_record(record: dict[str, Any], *paths: Path) -> None:
    """Writes the record as JSON to each path, each by one rename."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(record, indent=2) + "\n")
        partial.rename(path)


def write_page(config: PipelineConfig, record: dict[str, Any], *paths: Path) -> None:
    """Writes the report of a run that ended, well or not.

    A page that cannot be drawn is said on standard error, and changes nothing else.
    """
    try:
        run_report.write_report(record, *paths, metadata_url=config.metadata_url)
    except Exception as error:
        log.exception("The report could not be written")
        print(
            f"Warning: this run has no report ({error}); `cifar report` tries again.",
            file=sys.stderr,
        )


def summary_lines(record: dict[str, Any]) -> list[str]:
    """Returns what a person reads at the end of a run."""
    lines = [
        "",
        f"Accuracy {record['accuracy']:.2%} on {record['eval_examples']:,} eval images "
        f"(top 3: {record['top_3_accuracy']:.2%}, cross-entropy {record['cross_entropy']:.3f})",
        "",
    ]
    for name, accuracy in record["class_accuracy"].items():
        lines.append(f"  {name:<12} {accuracy:7.2%}  {'▇' * round(accuracy * 30)}")
    rate = record["examples_per_second"]
    lines += [
        "",
        f"Gate      {record['gate']['verdict']}",
        f"Serving   {record['serving_check']['verdict']}",
        f"Training  {record['train_steps']:,} steps"
        + (f", {rate:,.0f} images/s" if rate else ""),
        f"Time      {duration(record['seconds'])}",
        f"Report    {Path(record['config']['output_dir']) / PAGE_FILE}",
    ]
    if record["status"] == "pushed":
        lines += [
            f"Pushed    {record['pushed_path']}",
            "",
            *next_lines(record),
        ]
    else:
        lines += ["Pushed    nothing; what was pushed before is untouched"]
    return lines


def next_lines(record: dict[str, Any]) -> list[str]:
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
