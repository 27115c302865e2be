"""Checks, before any work, whether the workers of an engine can do it."""

import functools
import logging
import os
import platform
import shutil
import socket
import uuid
from pathlib import Path

import apache_beam as beam
import grpc

from pipeline_def.beam.job import Job
from pipeline_def.beam.runner import Runner
from pipeline_def.code_version import code_version

log = logging.getLogger("cifar.beam")

CONNECT_SECONDS = 10
PROBES = 8  # enough to reach, most likely, more than one worker
FOLDER = ".beam-probe"


def check_runner(runner: Runner, folder: Path) -> list[str]:
    """Returns the workers that answered, as HOST:PID.

    Args:
        runner: An engine, not this process.
        folder: The output folder, which all workers must share.

    Raises:
        ConnectionError: The job server does not answer.
        RuntimeError: A worker does not see the folder, or has another Python or another
            version of this project; or the job failed otherwise.
    """
    if runner.job_server:
        check_job_server(runner)
    exchange = folder / FOLDER / uuid.uuid4().hex
    exchange.mkdir(parents=True)
    try:
        with Job(list(runner.arguments), runner.flink_url) as job:
            _ = (
                job
                | beam.Create(range(PROBES), reshuffle=True)
                | beam.Map(answer, str(exchange), facts())
            )
        workers = sorted(path.name for path in exchange.iterdir())
        log.info("%d answered: %s", len(workers), ", ".join(workers))
        return workers
    finally:
        shutil.rmtree(folder / FOLDER, ignore_errors=True)


def check_job_server(runner: Runner) -> None:
    """Raises ConnectionError unless the job server takes connections."""
    with grpc.insecure_channel(runner.job_server) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=CONNECT_SECONDS)
        except grpc.FutureTimeoutError:
            raise ConnectionError(
                f"No Beam job server answers at {runner.job_server}. Start it beside the "
                f"cluster, or correct its address."
            ) from None


@functools.cache
def facts() -> dict[str, str]:
    """Returns what must be the same here and on every worker, as it was at the first call."""
    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "Beam": beam.__version__,
        "code": code_version("components.example_gen", "components.evaluator"),
    }


def answer(_: int, exchange: str, expected: dict[str, str]) -> None:
    """Runs on a worker: writes a file for the driver, or raises the reason it cannot."""
    worker = f"{socket.gethostname()}:{os.getpid()}"
    if not Path(exchange).is_dir():
        raise RuntimeError(
            f"The worker {worker} does not see {exchange}. Give --output a folder that every "
            "worker has mounted at the same place; on Kubernetes, that is the shared volume."
        )
    for name, value in facts().items():
        if value != expected[name]:
            raise RuntimeError(
                f"The worker {worker} has {name} {value}, the driver {expected[name]}. "
                "Install the same version of this project on both, and restart the worker pool."
            )
    (Path(exchange) / worker).touch()
