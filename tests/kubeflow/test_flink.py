"""The compiled pipeline with its Beam steps on a real Flink; part of `make test-engines`.

Flink's processes run on this machine, in the place of those that the operator starts. The
worker pool of a TaskManager runs in a container that has the volume, and no folder of a step.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tensorflow_data_validation as tfdv
import tensorflow_model_analysis as tfma
import yaml

from benchmarks.emulator import filesystem
from benchmarks.emulator.backend import Backend, Step, StepFailedError
from kubeflow.beam_step import STEPS
from kubeflow.cluster import Beam, Cluster
from kubeflow.compile import compile_pipeline
from kubeflow.parameters import RunParameters
from pipeline_def.beam import cluster
from pipeline_def.code_version import ROOT
from tests.kubeflow.conftest import SETTINGS
from tests.kubeflow.test_deployment import of_kind, pool_of
from tests.pipeline_def.engine.conftest import started
from tests.pipeline_def.engine.test_flink import ask
from tests.processes import command_of, descendants, is_worker, wait_until

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def flink(tmp_path_factory) -> Iterator[cluster.Cluster]:
    """A Flink with the manifest's configuration, and one TaskManager."""
    ours = cluster._flink_config
    theirs = of_kind("FlinkDeployment")["spec"]["flinkConfiguration"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "_flink_config", lambda here: ours(here) | theirs)
        # Two would share a pool here, which each has for itself in its pod.
        patch.setattr(cluster, "WORKERS", 1)
        with started("flink", tmp_path_factory.mktemp("engines")) as here:
            yield here


@pytest.fixture(scope="module")
def pool(backend) -> Iterator[int]:
    """The container beside a TaskManager, as in the manifest; yields its process."""
    container = pool_of(of_kind("FlinkDeployment"))
    (mount,) = container["volumeMounts"]
    script = backend.directory / "pool.sh"
    root = backend.directory / "pool"
    script.write_text(filesystem.script(root, {mount["mountPath"]: backend.volume}))
    path = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin:/usr/sbin"}
    probe = container["readinessProbe"]["exec"]["command"]
    with (backend.directory / "pool.log").open("wb") as log:
        process = subprocess.Popen(
            [*filesystem.contained(script), *container["command"]],
            stdout=log,
            stderr=log,
            env=path,
        )
        try:
            wait_until(lambda: subprocess.run(probe, env=path, stderr=log).returncode == 0, 60)
            yield process.pid
        finally:
            process.kill()
            process.wait()


def compiled(beam: Beam, *settings: str, retries: int = 2) -> str:
    documents = compile_pipeline(
        "registry.test/cifar:1",
        Cluster(beam=beam, retries=retries, retry_backoff_seconds=0),
        RunParameters(preset="smoke"),
        [*SETTINGS, *settings],
    )
    return yaml.safe_dump_all(documents)


def flink_of(here: cluster.Cluster) -> Beam:
    return Beam(
        runner="flink", job_server=here.job_server, flink_url=here.web_page, parallelism=1
    )


def jobs(here: cluster.Cluster) -> list[tuple[str, str]]:
    """Returns the step and the state of each job, the oldest first."""
    found = sorted(ask(here, "/jobs/overview")["jobs"], key=lambda one: one["start-time"])
    return [(one["name"].rpartition("-")[2], one["state"]) for one in found]


def staging_of(backend: Backend) -> list[Path]:
    return [path for path in (backend.volume / "beam").rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def on_flink(backend, flink, pool) -> dict[str, Step]:
    inbox = backend.volume / "inbox"
    inbox.mkdir()
    shutil.copy(ROOT / "data_sources/sample/test_batch.bin", inbox)
    return backend.run(compiled(flink_of(flink), "predict_batch=/mnt/cifar10/inbox"))


@pytest.fixture(scope="module")
def in_pods(backend, on_flink) -> dict[str, Step]:
    """The same without Flink, and without the cache."""
    return backend.run(compiled(Beam()), only="Evaluator", cache=False)


def files_of(backend: Backend, step: Step, output: str, folder: Path) -> dict[str, Path]:
    """Returns the files of an output by their names in it, fetched to a folder."""
    prefix = step.outputs[output].uri.split("/", 3)[3]
    found = {}
    for key in backend.store.keys(prefix):
        name = key.removeprefix(f"{prefix}/")
        found[name] = folder / name
        found[name].parent.mkdir(parents=True, exist_ok=True)
        found[name].write_bytes(backend.store.get(key))
    return found


def test_every_beam_step_worked_on_flink(flink, on_flink):
    assert {step.state for step in on_flink.values()} == {"SUCCEEDED"}
    # The first job of each step asks the workers who they are.
    assert jobs(flink) == [(step, "FINISHED") for step in STEPS for _ in range(2)]
    for step in STEPS:
        assert re.search(r"1 answered: \S+:\d+", on_flink[step].log)


def test_what_flink_made_is_a_cache_hit_in_the_steps_own_pods(backend, on_flink):
    steps = backend.run(compiled(Beam()), only="StatisticsGen")
    states = {name: step.state for name, step in steps.items()}
    assert states == {"CifarExampleGen": "CACHED", "StatisticsGen": "CACHED"}


def test_the_examples_are_the_same_bytes(backend, on_flink, in_pods, tmp_path):
    theirs, ours = (
        {
            name: path.read_bytes()
            for name, path in files_of(
                backend, steps["CifarExampleGen"], "examples", tmp_path / str(number)
            ).items()
        }
        for number, steps in enumerate((on_flink, in_pods))
    )
    assert sum(name.startswith("Split-") for name in ours) == 10
    assert theirs == ours


def test_the_statistics_are_equal(backend, on_flink, in_pods, tmp_path):
    for split in ("train", "eval"):
        theirs, ours = (
            tfdv.load_stats_binary(
                str(
                    files_of(
                        backend, steps["StatisticsGen"], "statistics", tmp_path / str(number)
                    )[f"Split-{split}/FeatureStats.pb"]
                )
            ).datasets[0]
            for number, steps in enumerate((on_flink, in_pods))
        )
        assert theirs.num_examples == ours.num_examples > 0
        assert len(ours.features) == 3
        for there, here in zip(theirs.features, ours.features, strict=True):
            for one in (there, here):  # its last digit depends on the order of the sums
                one.num_stats.std_dev = round(one.num_stats.std_dev, 12)
            assert there == here


def test_the_metrics_are_equal(backend, on_flink, in_pods, tmp_path):
    found = []
    for number, steps in enumerate((on_flink, in_pods)):
        files_of(backend, steps["Evaluator"], "evaluation", tmp_path / str(number))
        result = tfma.load_eval_result(str(tmp_path / str(number)))
        found.append(
            {
                slice_key: {
                    name: value["doubleValue"]
                    for name, value in metrics[""][""].items()
                    if "doubleValue" in value
                }
                for slice_key, metrics in result.slicing_metrics
            }
        )
    theirs, ours = found
    assert len(ours) == 11 and theirs.keys() == ours.keys()
    for name, numbers in ours.items():
        assert theirs[name] == pytest.approx(numbers, rel=1e-6), name


def test_nothing_stays_on_the_volume(backend, on_flink):
    assert not staging_of(backend)


@contextlib.contextmanager
def second_job_hangs(flink, pool: int) -> Iterator[Callable[[], bool]]:
    """Yields whether the second job of a step hangs; it does until it is cancelled.

    The first one asks the workers who they are. After that, the pool cannot fork any.
    """
    before = len(jobs(flink))
    (fork_server,) = (
        pid
        for pid in descendants(pool)
        if "multiprocessing.forkserver" in command_of(pid) and not is_worker(pid)
    )

    def hangs() -> bool:
        states = [state for _, state in jobs(flink)[before:]]
        if states == ["FINISHED"]:
            os.kill(fork_server, signal.SIGSTOP)
        return len(states) == 2

    def go_on() -> None:
        try:
            wait_until(lambda: "CANCELED" in [state for _, state in jobs(flink)[before:]], 60)
        finally:
            os.kill(fork_server, signal.SIGCONT)

    thread = threading.Thread(target=go_on)
    thread.start()
    yield hangs
    thread.join()


def test_a_terminated_step_cancels_its_job(backend, flink, pool):
    """As Kubernetes does when a run is terminated."""
    before = len(jobs(flink))
    told: list[int] = []

    def tell_when(hangs: bool) -> bool:
        if hangs and not told:
            told.extend(processes_of_step("CifarExampleGen"))
            for pid in told:
                os.kill(pid, signal.SIGTERM)
        return False  # it must end by itself

    with (
        second_job_hangs(flink, pool) as hangs,
        pytest.raises(StepFailedError) as failure,
    ):
        backend.run(
            compiled(flink_of(flink), retries=0),
            kill_once={"CifarExampleGen": lambda: tell_when(hangs())},
            only="CifarExampleGen",
            cache=False,
        )
    log = failure.value.steps["CifarExampleGen"].log
    assert log.splitlines()[-1] == "Error: CifarExampleGen: Stopped by SIGTERM"
    assert [state for _, state in jobs(flink)[before:]] == ["FINISHED", "CANCELED"]
    assert not staging_of(backend)


def processes_of_step(node: str) -> Iterator[int]:
    """Yields the Python process of a running step."""
    for pid in descendants(os.getpid()):
        with contextlib.suppress(FileNotFoundError):  # it has ended
            words = command_of(pid).split()
            if words[:3] == ["python", "-m", "kubeflow.entrypoint"] and node in words:
                yield pid


def test_a_killed_step_cancels_its_job_when_it_comes_again(backend, flink, pool):
    before = len(jobs(flink))
    with second_job_hangs(flink, pool) as hangs:
        steps = backend.run(
            compiled(flink_of(flink)),
            kill_once={"CifarExampleGen": hangs},
            only="CifarExampleGen",
            cache=False,
        )
    assert steps["CifarExampleGen"].attempts == 2
    states = [state for _, state in jobs(flink)[before:]]
    assert states == ["FINISHED", "CANCELED", "FINISHED", "FINISHED"]
    assert not staging_of(backend)


def test_a_job_server_that_is_not_there_fails_the_step_in_one_line(backend, flink, pool):
    beam = flink_of(flink).model_copy(update={"job_server": "127.0.0.1:1"})
    with pytest.raises(StepFailedError) as failure:
        backend.run(compiled(beam, retries=0), only="CifarExampleGen", cache=False)
    last_line = failure.value.steps["CifarExampleGen"].log.splitlines()[-1]
    assert last_line.startswith("Error: CifarExampleGen failed: No Beam job server answers at")
    assert not staging_of(backend)
