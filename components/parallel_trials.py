"""Several trials of a search at once, each in its own process with its share of the cores."""

import ctypes
import logging
import logging.handlers
import multiprocessing
import os
import queue
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import connection
from typing import Any

_FORWARDED = "cifar.tuner"  # its messages reach the console; the others only the log file


def run_all(
    work: Callable[[Any], None],
    tasks: Sequence[Any],
    processes: int,
    done: Callable[[], None],
) -> None:
    """Runs `work` once for each task, in so many processes at a time.

    A new process runs each task, since TensorFlow cannot be started again with other cores.
    When this process ends, so do they.

    Args:
        work: A function that can be pickled.
        tasks: Its arguments, in the order in which they start.
        processes: How many run at the same time.
        done: Called after each task.

    Raises:
        RuntimeError: A process ended with an error; the others are stopped.
    """
    context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    messages: multiprocessing.Queue = context.Queue()
    free = list(shares(sorted(os.sched_getaffinity(0)), processes))
    waiting = list(tasks)
    running: dict[Any, tuple[multiprocessing.process.BaseProcess, list[int]]] = {}
    try:
        while waiting or running:
            while waiting and free:
                cores = free.pop(0)
                arguments = (os.getpid(), cores, messages, work, waiting.pop(0))
                process = context.Process(target=_run, args=arguments, daemon=True)
                process.start()
                running[process.sentinel] = process, cores
            for sentinel in connection.wait(list(running), timeout=1.0):
                ended, cores = running.pop(sentinel)
                ended.join()
                _show(messages)
                if ended.exitcode:
                    raise RuntimeError(
                        f"A trial's process ended with exit code {ended.exitcode}; its "
                        "error is in the log. To continue the search, run it again."
                    )
                free.append(cores)
                done()
            _show(messages)
    finally:
        for left, _ in running.values():
            left.kill()
            left.join()


def shares(cores: Sequence[int], processes: int) -> Iterator[list[int]]:
    """Yields the cores of each process; with more processes than cores, some share one."""
    for number in range(processes):
        start, stop = (len(cores) * end // processes for end in (number, number + 1))
        yield list(cores[start : max(stop, start + 1)])


def _run(
    parent: int,
    cores: Iterable[int],
    messages: multiprocessing.Queue,
    work: Callable[[Any], None],
    task: Any,
) -> None:
    """Runs a task in this new process."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, as in child_process.py
    if os.getppid() != parent:
        sys.exit("The process that started this one has ended.")
    os.sched_setaffinity(0, cores)
    logging.basicConfig(level=logging.INFO, force=True)
    logging.getLogger(_FORWARDED).addHandler(logging.handlers.QueueHandler(messages))
    work(task)


def _show(messages: multiprocessing.Queue) -> None:
    """Logs the messages of the processes here."""
    while True:
        try:
            record = messages.get_nowait()
        except queue.Empty:
            return
        logging.getLogger(record.name).handle(record)
