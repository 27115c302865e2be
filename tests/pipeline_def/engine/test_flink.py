"""The Beam stages on a real Flink: a JobManager, two TaskManagers, and Beam's job server."""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components import example_gen
from components.example_gen import write_shard
from components.shards import Shard
from data_sources import example_format
from pipeline_def.beam import cluster, runner
from tests.finished_runs import smoke_run
from tests.pipeline_def.engine.comparison import assert_equal_results, run
from tests.pipeline_def.examples_on import generate
from tests.processes import is_worker, wait_until

BEAM_STAGES = ("CifarExampleGen", "StatisticsGen", "Evaluator")


def on(here: cluster.Cluster) -> tuple[str, ...]:
    return ("--runner", here.engine)


def ask(flink: cluster.Cluster, path: str) -> dict:
    """Returns what Flink's REST API says."""
    with urllib.request.urlopen(f"{flink.web_page}{path}", timeout=10) as answer:
        return json.load(answer)


def jobs(flink: cluster.Cluster) -> dict[str, str]:
    """Returns the state of each job by its id, the oldest first."""
    found = sorted(ask(flink, "/jobs/overview")["jobs"], key=lambda one: one["start-time"])
    return {one["jid"]: one["state"] for one in found}


def task_managers_at_work(flink: cluster.Cluster, one: str) -> set[str]:
    """Returns those that have read records for a job."""
    found = set()
    for vertex in ask(flink, f"/jobs/{one}")["vertices"]:
        path = f"/jobs/{one}/vertices/{vertex['id']}/taskmanagers"
        for task_manager in ask(flink, path)["taskmanagers"]:
            if task_manager["metrics"]["read-records"]:
                found.add(task_manager["taskmanager-id"])
    return found


def workers(here: cluster.Cluster) -> list[int]:
    """Returns the pids of our workers that a cluster has started."""
    leaders = {process.pid for process in cluster.running(here)}
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            pid = int(entry.name)
            if os.getpgid(pid) in leaders and is_worker(pid):
                found.append(pid)
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def flink_run(tmp_path_factory, flink) -> dict:
    """The first run on the cluster."""
    return run(tmp_path_factory.mktemp("flink") / "output", *on(flink))


def test_the_results_are_those_of_a_local_run(local_run, flink_run):
    assert_equal_results(local_run, flink_run)


def test_two_task_managers_shared_every_job(flink, flink_run):
    log = Path(flink_run["log"]).read_text()
    assert len(set(re.search(r"2 answered: \S+:(\d+), \S+:(\d+)", log).groups())) == 2
    states = jobs(flink)
    assert list(states.values()) == ["FINISHED"] * (1 + len(BEAM_STAGES))
    for one in states:
        assert task_managers_at_work(flink, one) == {"taskmanager-1", "taskmanager-2"}


def test_no_worker_outlives_its_job_for_long(flink, flink_run):
    wait_until(lambda: not workers(flink))


def test_what_an_engine_made_is_a_cache_hit_here(flink_run):
    record = run(Path(flink_run["config"]["output_dir"]))
    assert {name: record["stages"][name]["cached"] for name in BEAM_STAGES} == dict.fromkeys(
        BEAM_STAGES, True
    )


def test_what_was_made_here_is_a_cache_hit_on_an_engine(local_run, flink):
    before = len(jobs(flink))
    record = run(Path(local_run["config"]["output_dir"]), *on(flink))
    assert all(record["stages"][name]["cached"] for name in BEAM_STAGES)
    assert len(jobs(flink)) == before + 1  # which asks the workers who they are


class PauseInTheMiddle(list):
    """Examples of which half are written when the worker pauses, for the first that does so."""

    def __init__(self, examples: list[bytes], mark: Path) -> None:
        super().__init__(examples)
        self.mark = mark

    def __iter__(self) -> Iterator[bytes]:
        for number, example in enumerate(super().__iter__()):
            if number == len(self) // 2 and not self.mark.exists():
                self.mark.touch()
                time.sleep(300)
            yield example


def write_with_a_pause(shard: Shard, partial_dir: str) -> int:
    """Runs on a worker: writes a shard, and pauses once, in the first shard of `train`."""
    encode = example_format.encode_examples

    def encode_with_a_pause(*arguments: Any) -> list[bytes]:
        return PauseInTheMiddle(encode(*arguments), Path(f"{partial_dir}-paused"))

    first = "Split-train/data_tfrecord-00000" in shard.target
    with pytest.MonkeyPatch.context() as patch:
        if first:
            patch.setattr(example_format, "encode_examples", encode_with_a_pause)
        return write_shard(shard, partial_dir)


def writers(here: cluster.Cluster, partial_dir: Path) -> list[int]:
    """Returns the pids of the workers that have an incomplete shard open."""
    return [
        pid
        for pid in workers(here)
        for file in open_files(pid)
        if file.startswith(f"{partial_dir}/")
    ]


def open_files(pid: int) -> Iterator[str]:
    for file in Path(f"/proc/{pid}/fd").glob("*"):
        with contextlib.suppress(OSError):
            yield str(file.readlink())


def assert_same_examples_after_a_kill(here: cluster.Cluster, data: Path, folder: Path) -> None:
    """Kills the workers that are in the middle of a shard, and compares with a local run."""
    chosen = runner.choose(here.engine, folder=here.folder)
    partial_dir = folder / "there" / example_gen.PARTIAL_DIR
    killed: list[int] = []
    addresses: set[str] = set()

    def kill_who_writes() -> None:
        wait_until(lambda: Path(f"{partial_dir}-paused").exists(), 200)
        addresses.update(listening_addresses(here))  # those of servers for workers too
        killed.extend(writers(here, partial_dir))
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_who_writes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(example_gen, "write_shard", write_with_a_pause)
        killer.start()
        there = generate(data, folder / "there", chosen)
    killer.join()
    assert killed
    assert addresses == {"127.0.0.1"}
    assert there == generate(data, folder / "here", runner.IN_THIS_PROCESS)
    assert len(there) == 10 and not partial_dir.exists()


def test_a_worker_killed_in_the_middle_of_a_write_changes_nothing(flink, cifar_dir, tmp_path):
    assert_same_examples_after_a_kill(flink, cifar_dir, tmp_path)
    (name, state) = list(jobs(flink).items())[-1]
    assert state == "FINISHED"
    assert ask(flink, f"/jobs/{name}/exceptions")["exceptionHistory"]["entries"]


def test_ctrl_c_cancels_the_job(flink, tmp_path):
    earlier = set(jobs(flink))
    process = subprocess.Popen(
        smoke_run(tmp_path / "output", *on(flink)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    # The first job asks the workers, the second is CifarExampleGen's.
    wait_until(lambda: len(set(jobs(flink)) - earlier) == 2 and workers(flink), 200)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    wait_until(lambda: list(jobs(flink).values())[-1] == "CANCELED", 30)
    wait_until(lambda: not workers(flink))


def listening_addresses(here: cluster.Cluster) -> set[str]:
    """Returns the addresses that the processes of a cluster listen on."""
    sockets = {name for each in cluster.running(here) for name in open_files(each.pid)}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            local, state, inode = (line.split()[column] for column in (1, 3, 9))
            if state == "0A" and f"socket:[{inode}]" in sockets:
                found.add(_address(local.partition(":")[0]))
    return found


def _address(kernel_form: str) -> str:
    """Returns an IPv4 address, also one in an IPv6 socket; others as they are."""
    mapped = "0000000000000000FFFF0000"
    short = kernel_form.removeprefix(mapped)
    if len(short) != 8:
        return kernel_form
    return ".".join(str(byte) for byte in reversed(bytes.fromhex(short)))
