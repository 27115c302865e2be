"""Two real runs on the sample: one pushed, writing to a pipe; one not, in a terminal."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.terminal import run_in_terminal


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run that ended: its exit code, what it printed, its record."""

    exit_code: int
    printed: str
    record: dict

    @property
    def output(self) -> Path:
        return Path(self.record["config"]["output_dir"])

    @property
    def page(self) -> Path:
        return Path(self.record["log"]).with_name("report.html")


def cifar(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from cli.main import main; main()", *arguments]


def smoke_run(output: Path, *settings: str) -> list[str]:
    return cifar(
        "run", "--preset", "smoke", "--data", "sample", "--output", str(output), *settings
    )


@pytest.fixture(scope="session")
def output(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("report") / "output"


@pytest.fixture(scope="session")
def pushed(output) -> Finished:
    """The first run of the folder: pushed. It wrote to a pipe."""
    result = subprocess.run(smoke_run(output), capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    record = json.loads((output / "run.json").read_text())
    return Finished(result.returncode, result.stdout + result.stderr, record)


@pytest.fixture(scope="session")
def refused(output, pushed) -> Finished:
    """The second run, in a terminal: trained less than the first, so not blessed."""
    settings = (
        *("--set", "train_steps=40", "--set", "eval_every_steps=20"),
        *("--set", "min_accuracy=0.99"),
    )
    exit_code, printed = run_in_terminal(smoke_run(output, *settings))
    return Finished(exit_code, printed, json.loads((output / "run.json").read_text()))
