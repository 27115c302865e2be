"""A stage's progress, as events that the work sends and a display shows.

The work does not know the display, nor the display the stage. Events stay in the process: a
stage on a cluster, or in Beam workers of other processes, is shown without them.
"""

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator


@dataclasses.dataclass(frozen=True)
class WorkDone:
    """How much of a stage's work is done.

    Attributes:
        done: The part of `total` that is done.
        unit: The unit of both: `step`, `images`, …
        detail: More to show, such as a loss or a rate.
    """

    done: int
    total: int
    unit: str
    detail: str = ""


Listener = Callable[[WorkDone], None]
_listeners: list[Listener] = []


@contextlib.contextmanager
def sent_to(listener: Listener) -> Iterator[None]:
    """Sends every event of this process, from any thread, to a listener."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def send(event: WorkDone) -> None:
    """Sends an event to all listeners."""
    for listener in tuple(_listeners):
        listener(event)


class _Count:
    """The current work. Beam copies its functions, so they cannot keep count themselves."""

    lock = threading.Lock()
    total = done = 0
    unit = ""


def begin(total: int, unit: str) -> None:
    """Announces the amount of work; `advance` counts from here."""
    with _Count.lock:
        _Count.total, _Count.done, _Count.unit = total, 0, unit


def advance(amount: int) -> None:
    """Reports that `amount` more is done, from any thread."""
    with _Count.lock:
        _Count.done += amount
        event = WorkDone(_Count.done, _Count.total, _Count.unit)
    send(event)
