"""Runs the stages of one run, one after another, and keeps its record up to date."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import pipeline as tfx_pipeline

from components import baseline_model
from contract import data_gate_record, metadata, stopping
from contract.data_gate_record import UnfitDataError
from contract.files import DATA_GATE_FILE, PAGE_FILE
from pipeline_def import failures, identity, launch, pipeline, results, warm_start
from pipeline_def.batches import Batches
from pipeline_def.beam import executors, probe, runner
from pipeline_def.config import PipelineConfig
from pipeline_def.console import RunConsole
from pipeline_def.recorder import Recorder
from report import run_record
from serving import baseline, version_ledger, version_store
from serving.batch import sources
from serving.model_registry import Provenance

log = logging.getLogger(__name__)


def run_stages(
    config: PipelineConfig,
    batches: Batches,
    beam_runner: runner.Runner,
    recorder: Recorder,
    console: RunConsole,
) -> None:
    """Cleans up after killed runs, and runs every stage.

    Once the Pusher is done, later failures do not fail the run.

    Raises:
        ConnectionError, RuntimeError: The Beam engine or its workers cannot do the work.
        ValueError: The metadata are damaged.
        OSError: A disk is full.
        Exception: Whatever a stage raises.
    """
    if beam_runner.is_elsewhere:
        with console.stage("Beam workers"):
            probe.check_runner(beam_runner, Path(config.output_dir))
    if config.metadata_url:
        texts = [str(batches.directory), *map(str, vars(config.hyper_parameters).values())]
        metadata.check_storable(config.metadata_url, *texts)
    connection = open_metadata(config)
    version_store.remove_abandoned(identity.serving_model_dir(config))
    batches = warm_start.resolve(config, batches)
    recorder.record = dataclasses.replace(
        recorder.record, training_fingerprint=identity.training_fingerprint(config, batches)
    )
    definition = define(config, batches)
    recorder.record = dataclasses.replace(recorder.record, upstream=upstream_of(definition))
    operators = executors.operators_for(beam_runner)

    @contextlib.contextmanager
    def watch(name: str) -> Iterator[Callable[[bool], None]]:
        recorder.keep(dataclasses.replace(recorder.record, failed_stage=name))
        with console.stage(name) as finished:
            yield finished
            stopping.check()

    outputs: dict[str, results.StageOutputs] = {}
    try:
        for stage in launch.run_nodes(definition, connection, watch, console.say, operators):
            outputs[stage.name] = stage.outputs
            recorder.record = results.with_stage(recorder.record, stage)
            if stage.name == "ExampleValidator":
                measured = data_gate_record.read(stage.outputs["anomalies"].uri)
                recorder.record = results.with_drift(recorder.record, measured)
            if stage.name == "Pusher":
                pushed = stage.outputs["pushed_model"]
                recorder.keep(results.with_push(recorder.record, pushed))
                recorder.record = results.with_results(recorder.record, config, outputs)
    except UnfitDataError as error:
        raise with_findings(error, recorder) from error
    except Exception as error:
        take_note(error, config, recorder, console)


def with_findings(error: UnfitDataError, recorder: Recorder) -> UnfitDataError:
    """Keeps what the data gate found in the run's folder, and adds where to the message."""
    data_gate_record.write(str(recorder.run_dir), error.found)
    recorder.record = results.with_drift(recorder.record, error.found)
    return UnfitDataError(
        f"{error} {recorder.run_dir / DATA_GATE_FILE} has all distances and distributions; "
        f"{recorder.run_dir / PAGE_FILE} shows them.",
        error.found,
    )


def define(config: PipelineConfig, batches: Batches) -> tfx_pipeline.Pipeline:
    """Returns the pipeline of a run that starts now.

    Raises:
        FileNotFoundError, ValueError: `predict_batch` is missing, or nothing to predict.
    """
    return pipeline.create_pipeline(
        config,
        batches,
        choose_baseline(config, batches),
        choose_reference(config, batches),
        find_ban(config, batches),
        sources.digest(sources.find(Path(config.predict_batch)))
        if config.predict_batch
        else "",
    )


def run_until_tuned(
    config: PipelineConfig, batches: Batches, console: RunConsole
) -> results.StageOutputs:
    """Runs the stages up to the Tuner, and returns its outputs by name.

    Raises:
        ValueError: The metadata are damaged.
        Exception: Whatever a stage raises, explained.
    """
    connection = open_metadata(config)
    definition = define(config, batches)
    running = ""

    @contextlib.contextmanager
    def watch(name: str) -> Iterator[Callable[[bool], None]]:
        nonlocal running
        running = name
        with console.stage(name) as finished:
            yield finished
            stopping.check()

    try:
        for stage in launch.run_nodes(definition, connection, watch, console.say):
            if stage.name == "Tuner":
                return stage.outputs
    except Exception as error:
        raise failures.explain(error, running, Path(config.output_dir)) from error
    raise AssertionError("create_pipeline left out the Tuner of a config that searches")


def open_metadata(config: PipelineConfig) -> metadata_store_pb2.ConnectionConfig:
    """Returns the metadata of an output folder, cleaned up after killed runs.

    Raises:
        ValueError: They are damaged, or are not those of the artifacts in the folder.
    """
    metadata.check(config.output_dir, config.metadata_url)
    connection = metadata.connection_to(config.output_dir, config.metadata_url)
    try:
        launch.abandon_killed(connection, Path(config.output_dir) / "pipeline")
    except launch.UnknownExecutionError as error:
        raise metadata.unusable(config.output_dir, config.metadata_url, str(error)) from error
    return connection


def upstream_of(definition: tfx_pipeline.Pipeline) -> dict[str, list[str]]:
    """Returns the nodes that each node of a pipeline waits for."""
    return {
        node.id: sorted(before.id for before in node.upstream_nodes)
        for node in definition.components
    }


def take_note(
    error: Exception, config: PipelineConfig, recorder: Recorder, console: RunConsole
) -> None:
    """Raises the explained error of a stage; after the Pusher, prints a warning instead."""
    stage = recorder.record.failed_stage or "The summary"
    explained = failures.explain(error, stage, Path(config.output_dir))
    if recorder.record.status == run_record.RUNNING:
        raise explained from error
    log.exception("A stage after the Pusher failed")
    recorder.record = dataclasses.replace(recorder.record, error=str(explained))
    console.warn(f"{stage} failed, after the Pusher was done: {explained}")


def choose_baseline(config: PipelineConfig, batches: Batches) -> str:
    """Returns the version to compare this run's candidate with, fixed when the run starts."""
    if config.baseline_version != baseline_model.LATEST:
        return config.baseline_version
    chosen = baseline.choose(
        identity.serving_model_dir(config), identity.candidate(config, batches), config.baseline
    )
    return str(chosen.number) if chosen else baseline_model.NONE


def choose_reference(config: PipelineConfig, batches: Batches) -> str:
    """Returns the version whose data to compare with: the newest with different data."""
    model_dir = identity.serving_model_dir(config)
    found = baseline.find_reference(model_dir, data_fingerprint=batches.fingerprint)
    return str(found.number) if found else baseline.NONE


def find_ban(config: PipelineConfig, batches: Batches) -> str:
    """Returns the version that bars this training from being pushed; empty if none does."""
    training = Provenance(identity.training_fingerprint(config, batches))
    return str(version_ledger.find_ban(identity.serving_model_dir(config), training) or "")
