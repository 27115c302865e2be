"""SIGTERM and SIGHUP stop a command as Ctrl-C does: by an exception in the main thread."""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StoppedError(KeyboardInterrupt):
    """A signal that asked this process to stop.

    A KeyboardInterrupt, so that third-party code lets it pass like Ctrl-C.
    """

    def __init__(self, number: int) -> None:
        """Takes the number of the signal."""
        super().__init__(f"Stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number  # as in a shell: Ctrl-C 130, SIGTERM 143


class _Request:
    """The first signal received, kept in case its exception is swallowed."""

    error: StoppedError | None = None


@contextlib.contextmanager
def signals_raise() -> Iterator[None]:
    """Raises StoppedError on the first signal to stop, and ends the process on the second."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # as under nohup
            signal.signal(number, _stop)
    try:
        yield
    finally:
        _Request.error = None
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    if _Request.error:
        os._exit(_Request.error.exit_code)
    _Request.error = StoppedError(number)
    raise _Request.error


class Alarm:
    """Lets the main thread wait until a signal arrives or another thread rings.

    The system may deliver a signal to any thread. Python runs the handler in the main thread,
    but does not wake it if it waits for a lock, as in `Event.wait`. A byte in a socket does.
    """

    def __enter__(self) -> "Alarm":
        """Makes signals wake the wait, until the end of the block."""
        self._main_end, self._other_end = socket.socketpair()
        self._other_end.setblocking(False)
        self._before = signal.set_wakeup_fd(self._other_end.fileno())
        return self

    def __exit__(self, *error: object) -> None:
        """Gives signals back their former way to wake."""
        signal.set_wakeup_fd(self._before)
        self._main_end.close()
        self._other_end.close()

    def wait(self) -> None:
        """Returns when it rings or a signal was handled; raises what the handler raises."""
        self._main_end.recv(1)

    def ring(self) -> None:
        """Wakes the main thread."""
        self._other_end.send(b"!")


def check() -> None:
    """Raises the StoppedError of an earlier signal again, in case it was swallowed."""
    if _Request.error:
        raise _Request.error


def end_process(stopped: StoppedError) -> NoReturn:
    """Ends the process with the exit code of a signal, without waiting for threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(stopped.exit_code)
