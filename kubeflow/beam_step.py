"""A step whose Beam job runs on Flink in the cluster, with its files on the shared volume.

The launcher copies inputs and outputs only to and from the step's own pod, which Flink's
workers cannot see. So the inputs are copied to the volume, and the outputs from there.

An attempt that was killed leaves its files, and a job that may still write to them. The next
attempt cancels the job and deletes the files before it starts.
"""

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from contract import records, stopping

if TYPE_CHECKING:
    from kubeflow.cluster import Cluster


STEPS = ("CifarExampleGen", "StatisticsGen", "Evaluator", "BulkInferrer")
VARIABLE = "CIFAR_BEAM"  # an environment variable, because arguments are part of the cache key
FOLDER = "beam"  # on the volume


@dataclasses.dataclass(frozen=True)
class FlinkCluster:
    """What a step must know of Flink, as in the cluster file."""

    job_server: str
    flink_url: str
    parallelism: int
    folder: str  # on the volume, for the files of all steps


def variables(node: str, cluster: "Cluster") -> dict[str, str]:
    """Returns the environment variables that send a node's Beam job to Flink, if any."""
    beam = cluster.beam
    if beam.runner == "local" or node not in STEPS:
        return {}
    folder = f"{cluster.mount_path}/{FOLDER}"
    flink = FlinkCluster(beam.job_server, beam.flink_url, beam.parallelism, folder)
    return {VARIABLE: records.to_json(flink)}


@contextlib.contextmanager
def on_cluster(
    node: str, address: str, execution: Any
) -> Iterator[tuple[Any, Callable[[], Any] | None]]:
    """Yields what the executor of a node is to execute, and what makes its Beam pipelines.

    Without the variable, these are `execution` itself and None: Beam runs in this process.

    Args:
        node: The node's name.
        address: Of one of its outputs, as the driver chose it.
        execution: The ExecutorInput, with the folders of this pod.

    Raises:
        ConnectionError: The job server or Flink does not answer.
        RuntimeError: The workers cannot do the work, or the job failed.
        stopping.StoppedError: The step was terminated; the job is cancelled.
    """
    if VARIABLE not in os.environ:
        yield execution, None
        return
    from pipeline_def.beam import job, probe, runner

    flink = records.from_json(FlinkCluster, os.environ[VARIABLE])
    name = f"{run_of(address, node)}-{node}"
    chosen = runner.flink_with_pools(flink.job_server, flink.flink_url, flink.parallelism, name)
    folder = Path(flink.folder) / name

    def make_job() -> job.Job:
        return job.Job(list(chosen.arguments), chosen.flink_url)

    with stopping.signals_raise():
        job.cancel_on_flink(flink.flink_url, name)
        with staged(execution, folder) as shared:
            probe.check_runner(chosen, folder)
            yield shared, make_job


def run_of(address: str, node: str) -> str:
    """Returns the run's id from the address of an output: ROOT/RUN/NODE/…/OUTPUT."""
    parts = PurePosixPath(address).parts
    return parts[parts.index(node) - 1]


@contextlib.contextmanager
def staged(execution: Any, folder: Path) -> Iterator[Any]:
    """Yields the execution with inputs and outputs in a folder, which is deleted at the end.

    Unless the body fails, the outputs are copied to where the launcher takes them from.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shared = type(execution)()
    shared.CopyFrom(execution)
    try:
        for artifact, place in _artifacts_of(shared.inputs, folder / "inputs"):
            if Path(artifact.uri).exists():  # nothing is downloaded of an empty artifact
                shutil.copytree(artifact.uri, place)
            artifact.uri = str(place)
        for artifact, place in _artifacts_of(shared.outputs, folder / "outputs"):
            place.mkdir(parents=True)
            artifact.uri = str(place)
        yield shared
        for artifact, place in _artifacts_of(execution.outputs, folder / "outputs"):
            shutil.copytree(place, artifact.uri, dirs_exist_ok=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _artifacts_of(side: Any, folder: Path) -> Iterator[tuple[Any, Path]]:
    """Yields each artifact of the inputs or outputs, and its place in a folder."""
    for name, one in side.artifacts.items():
        for index, artifact in enumerate(one.artifacts):
            yield artifact, folder / name / str(index)
