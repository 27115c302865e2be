"""How far a stage is, as a value that the work sends and a display shows.

What does the work knows no display, and a display knows no stage. Events stay in the process:
a stage on a cluster, or in Beam's workers of other processes, is shown without them.
"""

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator


@dataclasses.dataclass(frozen=True)
class WorkDone:
    """So much of a stage's work is done.

    Attributes:
        done: Of `total`, in the unit.
        unit: `step`, `images`, …
        detail: What else there is to say: a loss, a rate.
    """

    done: int
    total: int
    unit: str
    detail: str = ""


Listener = Callable[[WorkDone], None]
_listeners: list[Listener] = []


@contextlib.contextmanager
def sent_to(listener: Listener) -> Iterator[None]:
    """Has every event of this process sent to a listener, from whichever thread it comes."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def send(event: WorkDone) -> None:
    """Sends an event to whoever listens."""
    for listener in tuple(_listeners):
        listener(event)


class _Count:
    """The work under way. Beam copies its functions, so that none of them can keep count."""

    lock = threading.Lock()
    total = done = 0
    unit = ""


def begin(total: int, unit: str) -> None:
    """Says how much there is to do; `advance` counts from here."""
    with _Count.lock:
        _Count.total, _Count.done, _Count.unit = total, 0, unit


def advance(amount: int) -> None:
    """Says that so much more of it is done; from whichever thread did it."""
    with _Count.lock:
        _Count.done += amount
        event = WorkDone(_Count.done, _Count.total, _Count.unit)
    send(event)
