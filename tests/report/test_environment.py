"""Where a run took place."""

import importlib.metadata
import subprocess

from contract import records
from report import environment
from report.environment import Environment


def git(folder, *arguments):
    command = ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_that_of_the_checkout_and_says_whether_files_differ(tmp_path):
    assert environment.read(tmp_path).commit == ""  # no checkout
    git(tmp_path, "init")
    (tmp_path / "code.py").write_text("one")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "First")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert environment.read(tmp_path).commit == commit
    (tmp_path / "code.py").write_text("two")
    assert environment.read(tmp_path).commit == f"{commit} + changes"


def test_machine_and_packages_are_named(tmp_path):
    found = environment.read(tmp_path)
    assert found.packages["tensorflow"] == importlib.metadata.version("tensorflow")
    assert found.cpu and found.system and found.python
    assert found.cores >= 1
    assert found.memory_bytes > 2**30
    assert records.from_json(Environment, records.to_json(found)) == found
