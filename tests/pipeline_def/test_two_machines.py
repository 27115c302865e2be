"""Two output folders, as on two machines, with one metadata server and one serving folder."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import finished_runs, metadata_servers

NOT_BLESSED = 3


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    if program := metadata_servers.missing("mariadb"):
        pytest.skip(f"{program} is not installed")
    with metadata_servers.mariadb() as url:
        yield url


def start(folder: Path, machine: str, seed: int, url: str) -> subprocess.Popen:
    command = finished_runs.smoke_run(
        folder / machine, "--set", f"serving_dir={folder}/serving", "--set", f"seed={seed}"
    )
    environment = os.environ | {"CIFAR_METADATA_URL": url}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, env=environment, text=True, **pipes)


def record(folder: Path, machine: str) -> dict:
    return json.loads((folder / machine / "run.json").read_text())


def versions(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.glob("serving/cifar10/[0-9]*"))


@pytest.fixture(scope="module")
def at_once(url, tmp_path_factory) -> tuple[Path, str, str]:
    """Returns the folder of two runs that began together: who pushed first, and the other."""
    folder = tmp_path_factory.mktemp("machines")
    processes = {
        machine: start(folder, machine, seed, url) for seed, machine in enumerate(("a", "b"))
    }
    printed = {machine: process.communicate()[0] for machine, process in processes.items()}
    codes = {machine: process.returncode for machine, process in processes.items()}
    assert sorted(codes.values()) == [0, NOT_BLESSED], printed
    first, second = sorted(codes, key=lambda machine: codes[machine])
    return folder, first, second


def test_of_two_runs_at_once_the_second_may_not_replace_what_it_was_not_compared_with(at_once):
    folder, first, second = at_once
    (version,) = versions(folder)
    assert record(folder, first)["pushed_version"] == str(version)
    assert record(folder, second)["push_refusal"] == (
        f"the gate compared with no version, but version {version} has been pushed meanwhile; "
        "run again, and only the comparison is repeated"
    )


def test_run_again_it_is_compared_and_pushed_as_another_version(at_once, url):
    folder, first, second = at_once
    (version,) = versions(folder)
    (folder / first).rename(
        folder / "unreachable"
    )  # one machine does not see the other's files
    again = start(folder, second, "ab".index(second), url)
    printed, _ = again.communicate()
    assert again.returncode == 0, printed
    assert f"version {version}" in printed
    found = record(folder, second)
    assert versions(folder) == [version, int(found["pushed_version"])]
    assert found["stages"]["Trainer"]["cached"]
    assert not found["stages"]["Evaluator"]["cached"]
