"""Processes, as Linux lists them."""

import time
from collections.abc import Callable
from pathlib import Path


def is_running(pid: int) -> bool:
    """Returns whether a process is running."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def command_of(pid: int) -> str:
    """Returns the command line of a process as one string."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def descendants(pid: int) -> list[int]:
    """Returns all descendants of a process."""
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            found += [child, *descendants(child)]
    return found


def is_worker(pid: int) -> bool:
    """Returns whether a process is a Beam worker, forked by a worker pool."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
        parent = int(status.rpartition(")")[2].split()[1])
        return _is_forked(pid) and _is_forked(parent)
    except OSError:  # it has ended
        return False


def _is_forked(pid: int) -> bool:
    """Returns whether this is a fork server, or a process forked from one."""
    return b"multiprocessing.forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Waits for a condition; fails the test if it stays false."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
