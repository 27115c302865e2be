"""The runner of the Beam stages, as Beam's own arguments. Does not import Beam."""

import dataclasses
import json
import shlex
import sys
from pathlib import Path

from pipeline_def.beam import cluster

LOCAL = "local"
ENGINES = ("flink", "spark")  # behind Beam job servers, which take the same arguments
WORKER_COMMAND = Path(sys.executable).with_name("cifar-beam-worker")
POOL_PORT = 50_000  # of a worker pool, on the loopback address of its pod
NO_DATAFLOW = (
    "Dataflow cannot run this pipeline: its workers read and write gs:// addresses only, and "
    "the stages exchange files in a folder that all workers have mounted. Use flink or local."
)


@dataclasses.dataclass(frozen=True)
class Runner:
    """A choice of runner."""

    name: str = LOCAL  # as in `cifar run --runner`
    arguments: tuple[str, ...] = ()  # Beam's; empty for this process
    job_server: str = ""  # HOST:PORT, for an engine
    flink_url: str = ""  # of the REST API, for Flink on this machine

    @property
    def is_elsewhere(self) -> bool:
        """Returns whether processes that this one does not start do the work."""
        return self.name != LOCAL


IN_THIS_PROCESS = Runner()


def choose(
    name: str = LOCAL,
    url: str = "",
    parallelism: int | None = None,
    folder: Path = cluster.DEFAULT_FOLDER,
) -> Runner:
    """Returns the runner for the command line.

    Args:
        name: `local`, `flink`, `spark`, or Beam's own arguments, such as
            `--runner=PortableRunner --job_endpoint=…`.
        url: HOST:PORT of the job server of an engine; empty: that of `cifar beam start`.
        parallelism: How many processes or subtasks share the work; None: one here,
            two on an engine.
        folder: Where the clusters of this machine are.

    Raises:
        ValueError: The runner does not exist or is Dataflow, an engine neither runs here nor
            has a URL, or Flink's cluster here is too small.
    """
    if is_dataflow(_value(name, "runner") if name.startswith("--") else name):
        raise ValueError(NO_DATAFLOW)
    if name.startswith("--"):
        if url or parallelism:
            raise ValueError(
                "Beam arguments specify the runner completely: include the job server and the "
                "parallelism in them, and omit --runner-url and --parallelism."
            )
        return Runner(name, tuple(shlex.split(name)), _value(name, "job_endpoint"))
    if name == LOCAL:
        if url:
            raise ValueError("--runner-url is for an engine; add --runner flink or spark.")
        return Runner(name, _several_processes(parallelism or 1))
    if name not in ENGINES:
        raise ValueError(
            f"--runner must be {LOCAL}, {', '.join(ENGINES)}, or Beam arguments that begin "
            f"with --, got {name!r}."
        )
    parallelism = parallelism or cluster.WORKERS
    if url:
        return Runner(name, _portable(name, url, parallelism, _ENGINE_STARTS_WORKERS), url)
    return _on_this_machine(name, parallelism, folder)


def _on_this_machine(engine: str, parallelism: int, folder: Path) -> Runner:
    """Returns the cluster of `cifar beam start`.

    Raises:
        ValueError: It does not run, or Flink's is too small.
    """
    try:
        here = cluster.find(engine, folder)
    except LookupError as error:
        raise ValueError(
            f"{error} For a cluster elsewhere, add --runner-url HOST:PORT, its Beam job server."
        ) from error
    is_flink = engine == "flink"
    if is_flink and parallelism > cluster.WORKERS:
        raise ValueError(  # Flink would wait five minutes for more
            f"The Flink of this machine has {cluster.WORKERS} task slots, so --parallelism "
            f"must be at most {cluster.WORKERS}, got {parallelism}."
        )
    workers = _pool_starts_workers(here.worker_pool)
    return Runner(
        engine,
        _portable(engine, here.job_server, parallelism, workers),
        here.job_server,
        here.web_page if is_flink else "",
    )


def flink_with_pools(
    job_server: str, flink_url: str, parallelism: int, job_name: str
) -> Runner:
    """Returns Flink on Kubernetes, each TaskManager with a worker pool in its pod.

    Args:
        job_server: HOST:PORT of Beam's job server.
        flink_url: Of Flink's REST API.
        parallelism: How many subtasks share the work.
        job_name: The name that Flink shows.
    """
    workers = _pool_starts_workers(f"localhost:{POOL_PORT}")
    arguments = _portable("flink", job_server, parallelism, workers)
    return Runner("flink", (*arguments, f"--job_name={job_name}"), job_server, flink_url)


def is_dataflow(name: str) -> bool:
    """Returns whether a runner is Google's Dataflow, by any of its names."""
    return "dataflow" in name.lower()


def _several_processes(count: int) -> tuple[str, ...]:
    if count == 1:
        return ()
    return ("--runner=pipeline_def.beam.processes.Processes", f"--direct_num_workers={count}")


# How long a worker outlives its tasks, to take those of the next stage. Flink's TaskManagers
# outlive the job, and replace a worker that was killed only after this time, so a retry must
# wait longer. Spark's executors end with the job.
_LIFE_OF_WORKERS = {
    "flink": (
        "--environment_cache_millis=2000",
        "--number_of_execution_retries=3",
        "--execution_retry_delay=5000",
    ),
    "spark": ("--environment_cache_millis=600000",),
}

_ENGINE_STARTS_WORKERS = (
    "--environment_type=PROCESS",
    f"--environment_config={json.dumps({'command': str(WORKER_COMMAND)})}",
)


def _pool_starts_workers(address: str) -> tuple[str, ...]:
    return ("--environment_type=EXTERNAL", f"--environment_config={address}")


def _portable(
    name: str, job_server: str, parallelism: int, workers: tuple[str, ...]
) -> tuple[str, ...]:
    """Returns the arguments of a job on Flink or Spark."""
    return (
        "--runner=PortableRunner",
        f"--job_endpoint={job_server}",
        f"--parallelism={parallelism}",  # Flink's, 1 by default; on Spark, the cores decide
        *workers,
        "--sdk_worker_parallelism=1",  # processes in each TaskManager or executor
        *_LIFE_OF_WORKERS[name],
        "--experiments=pre_optimize=all",  # else one subtask reads all TFRecord files
        "--experiments=disable_logging_submission_environment",  # a pip freeze for each job
    )


def _value(arguments: str, name: str) -> str:
    """Returns the value of `--name=value` or `--name value` among arguments; else ``."""
    words = shlex.split(arguments.replace("=", " "))
    option = f"--{name}"
    return words[words.index(option) + 1] if option in words[:-1] else ""
