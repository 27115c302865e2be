"""Measures the time and the memory of a command."""

import contextlib
import dataclasses
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

CIFAR = str(Path(sys.executable).with_name("cifar"))
GIB = 2**30
SAMPLE_SECONDS = 0.05  # between two samples of a small process tree
SAMPLE_SHARE = 0.02  # of a core for sampling; large trees are sampled less often


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One command, from the start of its process to its exit."""

    seconds: float
    peak_bytes: int  # of the process and its descendants; shared pages count once


def measure(command: Sequence[str]) -> Measurement:
    """Returns the measurement of a command, whose output is used only for errors.

    The kernel knows the exact peak of each process, but not of several together, so their sum
    is sampled too; the higher number counts. A child's peak starts at the memory of its
    parent, so the measuring process must import nothing heavy.

    Raises:
        RuntimeError: The command's exit code is not 0.
    """
    with tempfile.TemporaryFile() as output:
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        sampler = TreeSampler(process.pid)
        sampler.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        sampler.stop()
        if process.returncode != 0:
            output.seek(0)
            lines = output.read().decode(errors="replace").splitlines()
            raise RuntimeError(
                f"{' '.join(command)} ended with exit code {process.returncode}:\n"
                + "\n".join(lines[-15:])
            )
    return Measurement(seconds, max(sampler.peak_bytes, usage.ru_maxrss * 1024))


class TreeSampler(threading.Thread):
    """Samples the memory of a process and its descendants.

    Attributes:
        peak_bytes: The highest sum seen.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self._pid = pid
        self._stopped = threading.Event()

    def run(self) -> None:
        """Samples until stopped."""
        pause = SAMPLE_SECONDS
        while not self._stopped.wait(pause):
            started = time.thread_time()
            self.peak_bytes = max(self.peak_bytes, self.sample())
            pause = max(SAMPLE_SECONDS, (time.thread_time() - started) / SAMPLE_SHARE)

    def sample(self) -> int:
        """Returns the current memory."""
        return tree_bytes(self._pid)

    def stop(self) -> None:
        """Stops sampling."""
        self._stopped.set()
        self.join()


def tree_bytes(pid: int) -> int:
    """Returns the memory of a process and its descendants; ended processes count 0.

    Several processes share the pages of libraries, so each counts its share of them (PSS). A
    single process counts its resident memory (RSS).
    """
    try:
        root = psutil.Process(pid)
        children = root.children(recursive=True)
        if not children:
            return int(root.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
    total = 0
    for process in (root, *children):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss
    return total
