"""Shows progress: lines, and a bar on a terminal."""

import contextlib
import time
from collections.abc import Callable, Iterator

import rich.console
import rich.progress
import rich.text

from contract import terminal

SECONDS_BETWEEN_LINES = 10.0
# Of a line on a terminal: `170.1/170.1 MB 100.0 MB/s 0:00:00`, and what is left at least.
ROOM_FOR_NUMBERS, BAR_WIDTH, SHORTEST_TITLE = 36, 16, 24


class Progress:
    """Lines and bars on standard error, or on the console given.

    Rich omits colours if NO_COLOR is set, and bars on a dumb terminal.
    """

    def __init__(self, console: rich.console.Console | None = None) -> None:
        """Writes to `console`, by default standard error."""
        self._console = console or rich.console.Console(stderr=True)

    def say(self, line: str) -> None:
        """Prints one line: no markup, and on a terminal folded between words."""
        width = self._console.width if self._console.is_terminal else None
        folded = terminal.wrap(line, width)
        self._console.print(folded, markup=False, highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def bar(self, title: str, total_bytes: int | None) -> Iterator[Callable[[int], None]]:
        """Yields a function to call with the bytes done; prints the duration at the end.

        A terminal shows a bar (a pulse if `total_bytes` is None), anything else a line at the
        start and every ten seconds.
        """
        started = time.monotonic()
        shown = self._live_bar if self._console.is_terminal else self._lines
        with shown(title, total_bytes) as update:
            yield update
        self.say(f"{title}: done in {time.monotonic() - started:.1f} s")

    @contextlib.contextmanager
    def _live_bar(self, title: str, total_bytes: int | None) -> Iterator[Callable[[int], None]]:
        room = self._console.width - ROOM_FOR_NUMBERS
        columns: list[rich.progress.ProgressColumn] = [
            rich.progress.TextColumn("{task.description}", markup=False)
        ]
        if room >= BAR_WIDTH + SHORTEST_TITLE:
            columns += [rich.progress.BarColumn(BAR_WIDTH)]
            room -= BAR_WIDTH + 1
        if total_bytes is None:
            columns += [rich.progress.TimeElapsedColumn()]
        else:
            columns += [
                rich.progress.DownloadColumn(),
                rich.progress.TransferSpeedColumn(),
                rich.progress.TimeRemainingColumn(),
            ]
        description = rich.text.Text(title)
        description.truncate(room, overflow="ellipsis")
        with rich.progress.Progress(*columns, console=self._console, transient=True) as live:
            task = live.add_task(description.plain, total=total_bytes)
            yield lambda done_bytes: live.update(task, completed=done_bytes)

    @contextlib.contextmanager
    def _lines(self, title: str, total_bytes: int | None) -> Iterator[Callable[[int], None]]:
        self.say(f"{title} …")
        last_line = time.monotonic()

        def update(done_bytes: int) -> None:
            nonlocal last_line
            if total_bytes and time.monotonic() - last_line > SECONDS_BETWEEN_LINES:
                last_line = time.monotonic()
                self.say(f"{title}: {done_bytes / 1e6:.0f} of {total_bytes / 1e6:.0f} MB")

        yield update


def duration(seconds: float) -> str:
    """Returns seconds in a readable form: `4.1 s`, `5 min 12 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"
