"""Flink or Spark on this machine: an engine, its workers, and Beam's job server before it.

The processes carry their names and ports in their command lines, so there is no record of them
that could be out of date. They listen on 127.0.0.1 alone: whoever reaches them can run code.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipeline_def.beam import engine_jars

HOST = "127.0.0.1"
WORKERS = 2  # with one task each
JOB_SERVER = "job-server"
WORKER_POOL = "worker-pool"
# Of the job server; the next two are the engine's, and the last is the worker pool's.
PORTS = {"flink": 8099, "spark": 8199}
DEFAULT_FOLDER = Path("~/.cache/cifar/beam").expanduser()
FOLDER_VARIABLE = "CIFAR_BEAM_FOLDER"  # instead of the default
START_SECONDS = 120
STOP_SECONDS = 20
LOG_LINES = 15
# How an option begins that sets a property; Java and Python ignore names they do not know.
MARKS = JAVA_MARK, PYTHON_MARK = "-D", "-X"

# For every JVM, also the executors that Spark's workers start.
_JAVA_OPTIONS = " ".join(
    (
        "-XX:+UseSerialGC",
        # Most of a short job is Java code that runs a few times; Python does the long work.
        "-XX:TieredStopAtLevel=1",
        # Flink, Spark and Beam use Java's own classes, which Java 17 forbids unless told.
        *(
            f"--add-opens=java.base/{package}=ALL-UNNAMED"
            for package in (
                *("java.io", "java.lang", "java.lang.invoke", "java.lang.reflect", "java.net"),
                *("java.nio", "java.text", "java.time", "java.util", "java.util.concurrent"),
                *("java.util.concurrent.atomic", "java.util.concurrent.locks", "sun.nio.ch"),
                *("sun.nio.cs", "sun.security.action", "sun.util.calendar"),
            )
        ),
    )
)


@dataclasses.dataclass(frozen=True)
class Process:
    """A running process of a cluster."""

    name: str
    pid: int
    port: int  # of the cluster's job server


@dataclasses.dataclass(frozen=True)
class Part:
    """A Java process to start."""

    name: str
    java_options: tuple[str, ...]
    main: tuple[str, ...]  # the class and its arguments


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A place for a cluster: one folder for each engine."""

    engine: str
    folder: Path = DEFAULT_FOLDER
    port: int = 0  # of the job server; 0: the engine's usual one

    @property
    def home(self) -> Path:
        return self.folder.expanduser().resolve() / self.engine

    @property
    def overrides(self) -> Path:
        """Returns the jar that is put before the others."""
        return self.home / "overrides.jar"

    @property
    def ports(self) -> tuple[int, int, int, int]:
        """Returns the ports of job server, the engine's web page, engine and worker pool."""
        first = self.port or PORTS[self.engine]
        return first, first + 1, first + 2, first + 3

    @property
    def job_server(self) -> str:
        return f"{HOST}:{self.ports[0]}"

    @property
    def worker_pool(self) -> str:
        return f"{HOST}:{self.ports[3]}"

    @property
    def web_page(self) -> str:
        return f"http://{HOST}:{self.ports[1]}"

    def commands(self, java: str = "java") -> dict[str, tuple[str, ...]]:
        """Returns the command of each process, in the order in which they start."""
        return {
            part.name: _java_command(self, java, part) for part in _PARTS[self.engine](self)
        } | {WORKER_POOL: _pool_command(self)}


def _flink(cluster: Cluster) -> list[Part]:
    config = f"--configDir={cluster.home / 'conf'}"
    cluster_main = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
    worker_main = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
    job_server, web, *_ = cluster.ports
    return [
        Part("jobmanager", ("-Xmx400m",), (cluster_main, config)),
        *(
            Part(
                f"taskmanager-{number}",
                ("-Xmx512m", "-XX:MaxDirectMemorySize=320m"),
                (worker_main, config, f"-Dtaskmanager.resource-id=taskmanager-{number}"),
            )
            for number in range(1, WORKERS + 1)
        ),
        Part(
            JOB_SERVER,
            ("-Xmx400m",),
            (
                "org.apache.beam.runners.flink.FlinkJobServerDriver",
                f"--flink-master={HOST}:{web}",
                f"--flink-conf-dir={cluster.home / 'conf'}",
                *_job_server_options(cluster, job_server),
            ),
        ),
    ]


def _flink_config(cluster: Cluster) -> dict[str, object]:
    _, web, rpc, _ = cluster.ports
    return {
        "jobmanager.rpc.address": HOST,
        "jobmanager.rpc.port": rpc,
        "jobmanager.bind-host": HOST,
        "taskmanager.host": HOST,
        "taskmanager.bind-host": HOST,
        "rest.address": HOST,
        "rest.port": web,
        "rest.bind-address": HOST,
        "web.submit.enable": False,
        "parallelism.default": WORKERS,
        "io.tmp.dirs": str(cluster.home / "tmp"),
        # Without this, the first failure of a task ends a batch job.
        "restart-strategy.type": "fixed-delay",
        "restart-strategy.fixed-delay.attempts": 3,
        "restart-strategy.fixed-delay.delay": "5 s",  # as runner.py says
        # A job brings the jars of its job server, which are those of the engine.
        "classloader.resolve-order": "parent-first",
        "jobmanager.memory.process.size": "1g",
        "taskmanager.numberOfTaskSlots": 1,  # all tasks of a TaskManager share one worker
        "taskmanager.cpu.cores": 1,
        "taskmanager.memory.framework.heap.size": "128m",
        "taskmanager.memory.task.heap.size": "384m",
        "taskmanager.memory.framework.off-heap.size": "128m",
        "taskmanager.memory.task.off-heap.size": "64m",
        "taskmanager.memory.managed.size": "256m",  # sorting buffers
        "taskmanager.memory.jvm-metaspace.size": "256m",
        "taskmanager.memory.jvm-overhead.min": "192m",
        "taskmanager.memory.jvm-overhead.max": "192m",
        "taskmanager.memory.network.min": "128m",
        "taskmanager.memory.network.max": "128m",
        "taskmanager.network.sort-shuffle.min-buffers": 16,  # of 32 KiB, for each exchange
    }


def _spark(cluster: Cluster) -> list[Part]:
    job_server, web, rpc, _ = cluster.ports
    master = f"spark://{HOST}:{rpc}"
    master_main = "org.apache.spark.deploy.master.Master"
    worker_main = "org.apache.spark.deploy.worker.Worker"
    return [
        Part(
            "master",
            ("-Xmx400m",),
            (master_main, "--host", HOST, "--port", str(rpc), "--webui-port", str(web)),
        ),
        *(
            Part(
                f"worker-{number}",
                ("-Xmx256m",),
                (
                    *(worker_main, "--host", HOST, "--webui-port", "0"),
                    *("--cores", "1", "--memory", "1g"),
                    *("--work-dir", str(cluster.home / "tmp" / f"worker-{number}"), master),
                ),
            )
            for number in range(1, WORKERS + 1)
        ),
        Part(
            JOB_SERVER,
            (
                "-Xmx1g",
                "-Dspark.ui.enabled=false",  # of each job, on ports of its own
                f"-Dspark.driver.host={HOST}",
                f"-Dspark.driver.bindAddress={HOST}",
                # All data are on this machine, so no task need wait for the nearest worker.
                "-Dspark.locality.wait=0s",
                f"-Dspark.executor.extraClassPath={cluster.overrides}",
                # An executor keeps a dead Python worker, so a task that failed there must go to
                # the other one, not four times to the same.
                "-Dspark.excludeOnFailure.enabled=true",
                # When it failed on both, this is how long Spark waits for a third.
                "-Dspark.scheduler.excludeOnFailure.unschedulableTaskSetTimeout=1s",
            ),
            (
                "org.apache.beam.runners.spark.SparkJobServerDriver",
                f"--spark-master-url={master}",
                *_job_server_options(cluster, job_server),
            ),
        ),
    ]


def _job_server_options(cluster: Cluster, port: int) -> tuple[str, ...]:
    return (
        f"--job-host={HOST}",
        f"--job-port={port}",
        "--artifact-port=0",
        "--expansion-port=0",
        f"--artifacts-dir={cluster.home / 'tmp' / 'artifacts'}",
    )


_PARTS: dict[str, Callable[[Cluster], list[Part]]] = {"flink": _flink, "spark": _spark}


def running(cluster: Cluster) -> list[Process]:
    """Returns the processes of a cluster, whatever its port."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_text().split("\0")
        except OSError:  # it has ended, or is somebody else's
            continue
        facts = dict(word.partition("=")[::2] for word in words)
        facts = {name[2:]: value for name, value in facts.items() if name[:2] in MARKS}
        if facts.get("cifar.home") == str(cluster.home):
            port = int(facts["cifar.port"])
            found.append(Process(facts["cifar.name"], int(entry.name), port))
    return sorted(found, key=lambda process: process.pid)


def is_complete(cluster: Cluster, processes: Sequence[Process]) -> bool:
    """Returns whether all processes of a cluster are there."""
    return {process.name for process in processes} == cluster.commands().keys()


def find(engine: str, folder: Path = DEFAULT_FOLDER) -> Cluster:
    """Returns the running cluster of an engine.

    Raises:
        LookupError: It does not run, or not all of it.
    """
    cluster = Cluster(engine, folder)
    processes = running(cluster)
    if not is_complete(cluster, processes):
        state = "is incomplete" if processes else "does not run"
        raise LookupError(
            f"The {engine} cluster of this machine {state}: `cifar beam start {engine}`."
        )
    return dataclasses.replace(cluster, port=processes[0].port)


def start(cluster: Cluster) -> bool:
    """Starts the processes of a cluster that do not run yet, and waits until it takes jobs.

    Returns:
        Whether any was started.

    Raises:
        FileNotFoundError: The engine is not installed, or there is no JDK.
        OSError: A port is taken, or the cluster runs on another port.
        RuntimeError: A process ended, or the cluster did not get ready in time.
    """
    java = engine_jars.java()
    if found := engine_jars.damage(cluster.engine, cluster.home / "jars"):
        raise FileNotFoundError(
            f"{cluster.home / 'jars'} lacks {cluster.engine}'s jars: {found}. "
            f"`cifar beam install {cluster.engine}` downloads them."
        )
    processes = running(cluster)
    for process in processes:
        if process.port != cluster.ports[0]:
            raise OSError(
                f"The cluster runs on port {process.port}: `cifar beam stop "
                f"{cluster.engine}` first."
            )
    if is_complete(cluster, processes):
        return False
    if not processes:
        _check_ports(cluster)
        _prepare(cluster)
    names = {process.name for process in processes}
    try:
        started = {
            name: _launch(cluster, name, command)
            for name, command in cluster.commands(java).items()
            if name not in names
        }
        _wait_until_ready(cluster, started)
    except BaseException:
        stop(cluster)
        raise
    return True


def _check_ports(cluster: Cluster) -> None:
    for port in cluster.ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                raise OSError(
                    f"Port {port} of {HOST} is taken. `cifar beam start {cluster.engine} "
                    f"--port N` uses N to N+3 instead of {cluster.ports[0]} to "
                    f"{cluster.ports[3]}."
                ) from error


def _prepare(cluster: Cluster) -> None:
    for name in ("conf", "log", "tmp"):
        shutil.rmtree(cluster.home / name, ignore_errors=True)
        (cluster.home / name).mkdir(parents=True)
    engine_jars.make_overrides(cluster.home / "jars", cluster.overrides)
    if cluster.engine == "flink":
        # JSON is YAML.
        text = json.dumps(_flink_config(cluster), indent=1)
        (cluster.home / "conf" / "config.yaml").write_text(text)


def _java_command(cluster: Cluster, java: str, part: Part) -> tuple[str, ...]:
    tmp = f"-Djava.io.tmpdir={cluster.home / 'tmp'}"
    time = "-Dorg.slf4j.simpleLogger.showDateTime=true"
    options = (*_marks(cluster, part.name, JAVA_MARK), tmp, time)
    classes = f"{cluster.overrides}:{cluster.home}/jars/*"
    return (java, *options, *part.java_options, "-cp", classes, *part.main)


def _pool_command(cluster: Cluster) -> tuple[str, ...]:
    marks = _marks(cluster, WORKER_POOL, PYTHON_MARK)
    cifar = str(Path(sys.executable).with_name("cifar"))
    port = cluster.ports[3]
    return (sys.executable, *marks, cifar, "beam", "worker-pool", "--port", str(port))


def _marks(cluster: Cluster, name: str, mark: str) -> tuple[str, ...]:
    """Returns options that mean nothing to Java or Python, and tell `running` what this is."""
    facts = {"home": cluster.home, "name": name, "port": cluster.ports[0]}
    return tuple(f"{mark}cifar.{fact}={value}" for fact, value in facts.items())


def _launch(cluster: Cluster, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "JDK_JAVA_OPTIONS": _JAVA_OPTIONS,
        "SPARK_HOME": str(cluster.home),
        "SPARK_LOCAL_IP": HOST,
        "SPARK_SCALA_VERSION": "2.12",
    }
    with _log(cluster, name).open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=cluster.home,
            env=environment,
            start_new_session=True,
        )


def _log(cluster: Cluster, name: str) -> Path:
    return cluster.home / "log" / f"{name}.log"


def _wait_until_ready(cluster: Cluster, started: Mapping[str, subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _is_ready(cluster):
        for name, process in started.items():
            if process.poll() is not None:
                raise RuntimeError(_last_words(cluster, name, "ended"))
        if time.monotonic() > deadline:
            raise RuntimeError(
                _last_words(cluster, JOB_SERVER, f"was not ready in {START_SECONDS} s")
            )
        time.sleep(0.2)


def _last_words(cluster: Cluster, name: str, event: str) -> str:
    log = _log(cluster, name)
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    return "\n".join([f"{cluster.engine}'s {name} {event}. The end of {log}:", *lines])


def _is_ready(cluster: Cluster) -> bool:
    with contextlib.suppress(OSError, ValueError):
        for port in (cluster.ports[0], cluster.ports[3]):
            socket.create_connection((HOST, port), timeout=1).close()
        return workers(cluster) >= WORKERS
    return False


def workers(cluster: Cluster) -> int:
    """Returns how many workers have registered with the engine.

    Raises:
        OSError: It does not answer.
    """
    page, count = _WORKERS[cluster.engine]
    with urllib.request.urlopen(f"{cluster.web_page}{page}", timeout=5) as answer:
        return int(json.load(answer)[count])


_WORKERS = {"flink": ("/overview", "taskmanagers"), "spark": ("/json/", "aliveworkers")}


def stop(cluster: Cluster) -> bool:
    """Ends the processes of a cluster, and those that they started.

    Returns:
        Whether there were any.
    """
    processes = running(cluster)
    for process in reversed(processes):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while running(cluster) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # each leads the group of its children
    return bool(processes)
