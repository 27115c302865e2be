"""Runs that are killed, stopped or fail after their push, and the runs after them."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from report import runs
from tests.processes import descendants, is_running

MAIN = "from cli.main import main; main()"
KILL_AFTER_THE_RENAME = """
import os, signal
from serving import version_store
version_store.retire_old_versions = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
"""
FAIL_IN_THE_REPORT = """
from components import report_gen
def fail(*arguments):
    raise RuntimeError("no ink")
report_gen.Executor.Do = fail
"""


@dataclasses.dataclass(frozen=True)
class Trial:
    """An output folder with injected faults."""

    output: Path

    def cifar(self, *arguments: str, patch: str = "") -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-c", patch + MAIN, *arguments, "--output", str(self.output)],
            capture_output=True,
            text=True,
            timeout=300,
        )

    def run(self, *settings: str, patch: str = "") -> subprocess.CompletedProcess:
        return self.cifar(*smoke(*settings), patch=patch)

    def record(self) -> dict:
        return json.loads((self.output / "run.json").read_text())

    def versions(self) -> list[str]:
        return [path.name for path in (self.output / "serving/cifar10").glob("[0-9]*")]


def smoke(*settings: str) -> list[str]:
    changes = [word for setting in settings for word in ("--set", setting)]
    return ["run", "--preset", "smoke", "--data", "sample", "--set", "train_steps=2", *changes]


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Trial:
    """A run that was killed between its push and the record in the metadata."""
    trial = Trial(tmp_path_factory.mktemp("faults") / "output")
    result = trial.run(patch=KILL_AFTER_THE_RENAME)
    assert result.returncode == -signal.SIGKILL, result.stdout + result.stderr
    return trial


@pytest.fixture(scope="module")
def killed_version(killed) -> str:
    (version,) = killed.versions()
    return version


def test_a_push_is_known_though_its_run_was_killed(killed, killed_version):
    (listed,) = json.loads(killed.cifar("runs", "--json").stdout)
    assert (listed["status"], listed["pushed_version"]) == ("pushed", killed_version)
    (found,) = runs.read_runs(killed.output)
    assert found.pushed_path == str(killed.output / "serving/cifar10" / killed_version)


def test_lineage_knows_a_push_whose_run_was_killed(killed, killed_version):
    found = json.loads(killed.cifar("lineage", killed_version, "--json").stdout)
    assert found["version"] == killed_version
    stages = [execution["stage"] for execution in found["executions"]]
    assert (stages[0], stages[-1]) == ("Trainer", "CifarExampleGen")


def test_report_knows_a_push_whose_run_was_killed(killed, killed_version):
    result = killed.cifar("report", killed_version)
    assert result.returncode == 0, result.stderr
    page = (killed.output / "report.html").read_text()
    assert f"<h1>Pushed as version {killed_version}</h1>" in page


@pytest.fixture(scope="module")
def next_run(killed, killed_version) -> subprocess.CompletedProcess:
    """The run after that, with a failing report and rubbish in the folder."""
    (killed.output / ".tmp/left").mkdir(parents=True)
    broken = killed.output / "runs/2001-01-01T00-00-00"
    broken.mkdir()
    (broken / "run.json").write_text('{"run_id": ')
    result = killed.run(patch=FAIL_IN_THE_REPORT)
    shutil.rmtree(broken)
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def test_a_model_is_not_pushed_twice(killed, killed_version, next_run):
    assert killed.versions() == [killed_version]
    record = killed.record()
    assert (record["status"], record["pushed_version"]) == ("pushed", killed_version)
    assert not record["stages"]["Pusher"]["cached"]


def test_a_report_that_fails_is_a_warning(killed, killed_version, next_run):
    assert "Warning: ReportGen failed, after the Pusher was done: no ink" in next_run.stdout
    record = killed.record()
    assert (record["failed_stage"], record["error"]) == ("ReportGen", "no ink")
    assert "accuracy" in record
    page = (killed.output / "report.html").read_text()
    assert f"<h1>Pushed as version {killed_version}</h1>" in page


def test_a_record_that_cannot_be_read_is_named(killed, next_run):
    broken = killed.output / "runs/2001-01-01T00-00-00/run.json"
    assert f"Warning: {broken} is not a valid record of a run" in next_run.stderr


def test_nothing_is_left_of_a_killed_run(killed, next_run):
    assert not (killed.output / ".tmp").exists()
    assert not list(killed.output.rglob("*.partial"))
    assert not list(killed.output.glob("pipeline/Pusher/.system/stateful_working_dir/*"))
    assert len(list(killed.output.glob("pipeline/Pusher/pushed_model/*"))) == 1
    on_disk = [
        json.loads(path.read_text())["status"]
        for path in sorted(killed.output.glob("runs/*/run.json"))
    ]
    assert on_disk == ["pushed", "pushed"]


@pytest.mark.parametrize(
    ("number", "stage", "setting", "exit_code"),
    [
        (signal.SIGTERM, "ServingCheck", "max_latency_milliseconds=999", 143),
        (signal.SIGINT, "Trainer", "train_steps=100_000", 130),
    ],
)
def test_a_run_that_is_told_to_stop_says_so_and_takes_its_children_along(
    request, killed, next_run, number, stage, setting, exit_code
):
    command = [sys.executable, "-c", MAIN, *smoke(setting), "--output", str(killed.output)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    request.addfinalizer(process.kill)
    children: list[int] = []
    deadline = time.monotonic() + 120
    while killed.record().get("failed_stage") != stage or (
        stage == "ServingCheck" and not children
    ):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
        children = descendants(process.pid)
    if stage == "Trainer":
        time.sleep(2)  # somewhere in the middle
    signalled = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - signalled < 10
    assert process.returncode == exit_code
    assert said == (f"Stopped by {number.name}. Run the same command again to continue.\n")
    assert not any(map(is_running, children))
    record = killed.record()
    assert (record["status"], record["failed_stage"]) == ("stopped", stage)
    assert not (killed.output / ".tmp").exists()
