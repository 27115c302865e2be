import functools
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components import parallel_trials
from tests.processes import is_running, wait_until

CORES = sorted(os.sched_getaffinity(0))


def write_cores_when_both_run(number: int, directory: Path) -> None:
    """Ends when both tasks have started, and leaves the cores that it may use."""
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    (directory / f"cores-{number}").write_text(cores)
    wait_until(lambda: len(list(directory.glob("cores-*"))) == 2, seconds=60)
    logging.getLogger("cifar.tuner").info("task %d", number)


def fail_or_wait(number: int, directory: Path) -> None:
    """Task 0 fails as soon as task 1, which never ends, has started."""
    if number == 1:
        (directory / "pid").write_text(str(os.getpid()))
        time.sleep(600)
    wait_until((directory / "pid").exists, seconds=60)
    raise OSError("The disk is full.")


def test_tasks_run_at_the_same_time_on_cores_of_their_own(tmp_path, caplog):
    caplog.set_level(logging.INFO, "cifar.tuner")
    ended = []
    parallel_trials.run_all(
        functools.partial(write_cores_when_both_run, directory=tmp_path),
        tasks=[0, 1],
        processes=2,
        done=lambda: ended.append(True),
    )
    assert ended == [True, True]
    first, second = ((tmp_path / f"cores-{number}").read_text() for number in (0, 1))
    if len(CORES) > 1:
        assert not {*first.split(",")} & {*second.split(",")}
    assert sorted(caplog.messages) == ["task 0", "task 1"]


def test_cores_are_shared_evenly():
    assert list(parallel_trials.shares([0, 1, 2, 3, 4], 2)) == [[0, 1], [2, 3, 4]]
    assert list(parallel_trials.shares([5, 7], 3)) == [[5], [5], [7]]


def test_an_error_in_one_task_stops_the_others(tmp_path):
    with pytest.raises(RuntimeError, match="exit code 1"):
        parallel_trials.run_all(
            functools.partial(fail_or_wait, directory=tmp_path),
            tasks=[0, 1, 2],
            processes=2,
            done=lambda: None,
        )
    assert not is_running(int((tmp_path / "pid").read_text()))


def test_tasks_end_when_their_parent_is_killed(tmp_path):
    code = (
        "import functools, pathlib; from components import parallel_trials; "
        "from tests.components.test_parallel_trials import fail_or_wait; "
        f"work = functools.partial(fail_or_wait, directory=pathlib.Path({str(tmp_path)!r})); "
        "parallel_trials.run_all(work, [1], 1, lambda: None)"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as parent:
        wait_until((tmp_path / "pid").exists, seconds=60)
        parent.send_signal(signal.SIGKILL)
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not is_running(pid), seconds=10)
