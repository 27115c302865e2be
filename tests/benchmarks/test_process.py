"""Commands of known duration and size."""

import subprocess
import sys

import pytest

from benchmarks.process import measure

MEASURE = """
import sys
from benchmarks.process import measure
print(measure([sys.executable, "-c", sys.argv[1]]).peak_bytes)
"""
HOLD_100_MB = "import time; held = b'x' * 100_000_000; time.sleep(0.5)"
HOLD_100_MB_TWICE = f"""
import subprocess, sys
children = [subprocess.Popen([sys.executable, "-c", {HOLD_100_MB!r}]) for _ in range(2)]
[child.wait() for child in children]
"""


def peak_megabytes(code: str) -> float:
    """Returns the peak memory of Python code, measured from a small process."""
    command = [sys.executable, "-c", MEASURE, code]
    return int(subprocess.run(command, check=True, capture_output=True).stdout) / 1e6


def test_memory_is_what_the_child_holds():
    assert 100 < peak_megabytes(HOLD_100_MB) < 150


def test_memory_held_for_a_moment_counts():
    assert 100 < peak_megabytes("b'x' * 100_000_000") < 150


def test_memory_of_two_grandchildren_adds_up():
    assert 200 < peak_megabytes(HOLD_100_MB_TWICE) < 300


def test_memory_that_two_processes_share_counts_once():
    held = "import os, time; held = b'x' * 100_000_000; os.fork(); time.sleep(0.5)"
    assert 100 < peak_megabytes(held) < 150


def test_seconds_are_those_from_start_to_exit():
    assert 0.3 < measure([sys.executable, "-c", "import time; time.sleep(0.3)"]).seconds < 1.5


def test_a_command_that_fails_is_named_with_its_last_words():
    command = [sys.executable, "-c", "import sys; print('no room left'); sys.exit(7)"]
    with pytest.raises(RuntimeError, match=r"exit code 7:\nno room left$"):
        measure(command)
