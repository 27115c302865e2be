"""Shows a run: one line for each stage, with a bar while it runs.

All other output, from us and from third parties, goes to the run's log file.
"""

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import rich.console
import rich.progress
import rich.text

from contract import events, terminal
from contract.events import WorkDone
from contract.progress import SECONDS_BETWEEN_LINES, duration

NAME_WIDTH = 18
BAR_WIDTH, NARROWEST_BAR = 16, 6
TIMES_WIDTH = 27  # `2 min 01 s, 1 min 05 s left`: kept free, so that the bar stays


class StageLine(rich.progress.ProgressColumn):
    """A stage on one line: its name, a bar, its message, the remaining time.

    If the amount of work is unknown, the bar is based on the duration of the last run. On a
    narrow terminal, first the bar is dropped, then the elapsed time, then the message is cut.
    """

    def __init__(self, console: rich.console.Console) -> None:
        """Takes the console, whose width may change."""
        super().__init__()
        self._console = console

    def render(self, task: rich.progress.Task) -> rich.text.Text:
        """Returns the line."""
        room = self._console.width - 2  # beside the spinner
        name, detail = task.description, task.fields["detail"]
        elapsed, left = duration(task.elapsed or 0), self._left(task)
        times = [f"{elapsed}, {left}" if left else elapsed, left or elapsed]
        padded = f"{name:<{NAME_WIDTH}}"
        used = rich.text.Text(f"{padded}  {detail} {times[0]:<{TIMES_WIDTH}}").cell_len
        if room - used >= NARROWEST_BAR:
            bar = self._bar(task, min(BAR_WIDTH, room - used))
            return _line(padded, bar, detail, times[0])
        for one in times:
            if (line := _line(name, detail, one)).cell_len <= room:
                return line
        words = rich.text.Text(detail)
        words.truncate(max(room - len(name) - len(times[1]) - 2, 1), overflow="ellipsis")
        line = _line(name, words, times[1])
        line.truncate(room, overflow="ellipsis")
        return line

    @staticmethod
    def _bar(task: rich.progress.Task, width: int) -> rich.text.Text:
        total, completed = task.total, task.completed
        if total is None:
            total, completed = task.fields["last_seconds"], task.elapsed or 0
        if not total:
            return rich.text.Text()
        filled = int(width * min(completed / total, 1))
        return rich.text.Text("━" * filled).append("─" * (width - filled), style="dim")

    @staticmethod
    def _left(task: rich.progress.Task) -> str:
        last_seconds, elapsed = task.fields["last_seconds"], task.elapsed or 0
        if task.total is not None and task.time_remaining is not None:
            return f"{duration(task.time_remaining)} left"
        if task.total is None and last_seconds > elapsed:
            return f"about {duration(last_seconds - elapsed)} left"
        return ""


def _line(*parts: str | rich.text.Text) -> rich.text.Text:
    texts = [rich.text.Text(part) if isinstance(part, str) else part for part in parts]
    return rich.text.Text(" ").join(text for text in texts if text)


class RunConsole:
    """Shows stages as they run: a line for each, and a bar for the current one."""

    def __init__(
        self,
        console: rich.console.Console,
        is_live: bool,
        last_seconds: Mapping[str, float] | None = None,
    ) -> None:
        """Makes a console.

        Args:
            console: Where to write.
            is_live: Whether lines may be redrawn.
            last_seconds: How long each stage took last time, if known.
        """
        self._console = console
        self._is_live = is_live
        self._last_seconds = last_seconds or {}
        self._progress: rich.progress.Progress | None = None
        self._note = ""
        self._last_line = -SECONDS_BETWEEN_LINES

    def say(self, line: str = "", style: str | None = None) -> None:
        """Prints one line: no markup, and on a terminal folded between words."""
        width = self._console.width if self._console.is_terminal else None
        folded = terminal.wrap(line, width)
        self._console.print(folded, style=style, markup=False, highlight=False, soft_wrap=True)

    def warn(self, line: str) -> None:
        """Prints a warning."""
        self.say(f"  Warning: {line}", "yellow")

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Callable[[bool], None]]:
        """Shows a stage while it runs; yields a function that takes whether it was cached."""
        started = time.monotonic()
        self._note = ""
        cached = False

        def finished(was_cached: bool) -> None:
            nonlocal cached
            cached = was_cached

        try:
            with self._live(name):
                yield finished
        except BaseException:
            self._end(name, "failed", "", "red")
            raise
        elapsed = "cached" if cached else duration(time.monotonic() - started)
        self._end(name, elapsed, "" if cached else self._note)

    def _end(self, name: str, elapsed: str, detail: str, style: str | None = None) -> None:
        self.say(f"  {name:<{NAME_WIDTH}} {elapsed:>9}   {detail}".rstrip(), style)

    @contextlib.contextmanager
    def _live(self, name: str) -> Iterator[None]:
        """Shows one moving line while a stage runs."""
        if not self._is_live:
            yield
            return
        with rich.progress.Progress(
            rich.progress.SpinnerColumn(style="default"),
            StageLine(self._console),
            console=self._console,
            transient=True,
            redirect_stderr=False,  # it goes to the log file
        ) as self._progress:
            last_seconds = self._last_seconds.get(name, 0.0)
            self._task = self._progress.add_task(
                name, total=None, detail="", last_seconds=last_seconds
            )
            try:
                yield
            finally:
                self._progress = None

    def note(self, text: str) -> None:
        """Takes a message from a stage; the last one stays in its line."""
        self._note = text
        if self._progress:
            self._progress.update(self._task, detail=text)

    def show(self, event: WorkDone) -> None:
        """Moves the bar; without one, prints events with a detail from time to time."""
        if self._progress:
            self._progress.update(
                self._task,
                completed=event.done,
                total=event.total,
                detail=self._in_words(event, self._progress.tasks[0].elapsed or 1),
            )
        elif event.detail and (
            event.done == event.total
            or time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES
        ):
            self._last_line = time.monotonic()
            self.say(f"    {event.unit} {event.done:,} of {event.total:,}  {event.detail}")

    @staticmethod
    def _in_words(event: WorkDone, seconds: float) -> str:
        counts = f"{event.done:,}/{event.total:,}"
        if event.detail:
            return f"{counts}  {event.detail}"
        return f"{counts} {event.unit}  {event.done / seconds:,.0f} {event.unit}/s"


class _Messages(logging.Handler):
    """Passes messages of the `cifar` loggers to the console."""

    def __init__(self, console: RunConsole) -> None:
        super().__init__(logging.INFO)
        self._run_console = console

    def emit(self, record: logging.LogRecord) -> None:
        try:
            is_warning = record.levelno >= logging.WARNING
            show = self._run_console.warn if is_warning else self._run_console.note
            show(record.getMessage())
        except Exception:
            self.handleError(record)


@contextlib.contextmanager
def quiet(
    log_file: Path, verbose: bool, last_seconds: Mapping[str, float] | None = None
) -> Iterator[RunConsole]:
    """Sends all logs and standard error to `log_file`; yields the run's own console.

    TensorFlow and its libraries write to standard error from C++ and Python, through three
    logging systems, which only have the file descriptor in common.

    Args:
        log_file: Appended to.
        verbose: Logs to standard error too, and does not redirect it.
        last_seconds: How long each stage took last time.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    # A notebook puts something in its place that says it is a terminal, and redraws nothing.
    is_replaced = sys.stdout is not sys.__stdout__
    terminal_or_pipe = rich.console.Console(
        file=sys.stdout, force_jupyter=False, force_terminal=False if is_replaced else None
    )
    is_live = terminal_or_pipe.is_terminal and not terminal_or_pipe.is_dumb_terminal
    console = RunConsole(terminal_or_pipe, is_live and not verbose, last_seconds)
    handlers: list[logging.Handler] = [LogFile(log_file, console.warn)]
    if verbose:
        handlers.append(logging.StreamHandler(sys.stderr))
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=handlers,
        force=True,
    )
    ours = logging.getLogger("cifar")
    others, ours.handlers = ours.handlers, [_Messages(console)]
    with (
        contextlib.nullcontext() if verbose else _stderr_to(log_file),
        events.sent_to(console.show),
    ):
        try:
            yield console
        finally:
            ours.handlers = others


@contextlib.contextmanager
def _stderr_to(log_file: Path) -> Iterator[None]:
    """Appends to a file everything written to standard error, even from C++."""
    terminal = os.dup(2)
    try:
        with log_file.open("a") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        with contextlib.suppress(OSError):  # its disk may be full
            sys.stderr.flush()
        os.dup2(terminal, 2)
        os.close(terminal)


class LogFile(logging.FileHandler):
    """A log file whose disk may fill up: it warns once, and the run continues without it."""

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        """Takes the file to append to, and the function that reports a full disk."""
        super().__init__(path)
        self._warn = warn
        assert self.stream is not None  # opened just now
        self._descriptor = self.stream.fileno()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Lets the log end where it cannot be written."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        logging.getLogger().handlers = [
            logging.NullHandler() if handler is self else handler
            for handler in logging.getLogger().handlers
        ]
        if os.path.sameopenfile(2, self._descriptor):
            # What third parties write to standard error would fail where they do not expect it.
            with Path(os.devnull).open("w") as nothing:
                os.dup2(nothing.fileno(), 2)
        self._warn(
            f"the log {self.baseFilename} ends here: {error.strerror}. The run continues."
        )
