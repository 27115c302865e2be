"""What a run shows: one line for each stage, a bar where there is something to wait for.

Everything else, ours and third parties' alike, goes to the run's log file.
"""

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import rich.console
import rich.progress

from components.progress import duration

NAME_WIDTH = 18


class RunConsole(logging.Handler):
    """Shows stages as they run, fed by the records of the `cifar` loggers.

    The last record a stage logs is what its line says. Records with `step` and `steps`
    (training) move the bar on a terminal and are lines of their own elsewhere.
    """

    def __init__(self, console: rich.console.Console) -> None:
        """Writes to `console`."""
        super().__init__(logging.INFO)
        self._console = console
        self._progress: rich.progress.Progress | None = None
        self._detail = ""

    def say(self, line: str = "", style: str | None = None) -> None:
        """Prints one line as it is: no markup, not folded."""
        self._console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Callable[[bool], None]]:
        """Shows a stage while it runs, then its line; yields what to tell it was cached."""
        started = time.monotonic()
        self._detail = ""
        cached = False

        def finished(was_cached: bool) -> None:
            nonlocal cached
            cached = was_cached

        with self._live(name):
            try:
                yield finished
            except BaseException:
                self._end(name, "failed", "", "red")
                raise
        elapsed = "cached" if cached else duration(time.monotonic() - started)
        self._end(name, elapsed, "" if cached else self._detail)

    def _end(self, name: str, elapsed: str, detail: str, style: str | None = None) -> None:
        self.say(f"  {name:<{NAME_WIDTH}} {elapsed:>9}   {detail}".rstrip(), style)

    @contextlib.contextmanager
    def _live(self, name: str) -> Iterator[None]:
        """Shows a spinner on a terminal, which training turns into a bar."""
        if not self._console.is_terminal:
            yield
            return
        with rich.progress.Progress(
            rich.progress.SpinnerColumn(),
            rich.progress.TextColumn(f"{name:<{NAME_WIDTH}}"),
            rich.progress.BarColumn(bar_width=24),
            rich.progress.TextColumn("{task.fields[detail]}"),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TimeRemainingColumn(),
            console=self._console,
            transient=True,
        ) as self._progress:
            self._task = self._progress.add_task(name, total=None, detail="")
            try:
                yield
            finally:
                self._progress = None

    def emit(self, record: logging.LogRecord) -> None:
        """Shows a record of a `cifar` logger."""
        try:
            step = getattr(record, "step", None)
            if step is None:
                self._detail = record.getMessage()
                if self._progress:
                    self._progress.update(self._task, detail=self._detail)
            elif self._progress:
                self._progress.update(
                    self._task,
                    completed=step,
                    total=record.steps,  # type: ignore[attr-defined]
                    detail=record.getMessage(),
                )
            else:
                self.say(f"    {record.getMessage()}")
        except Exception:
            self.handleError(record)


@contextlib.contextmanager
def quiet(log_file: Path, verbose: bool) -> Iterator[RunConsole]:
    """Sends all logs and standard error to `log_file`; yields the run's own console.

    TensorFlow and its libraries write to standard error from C++ and from Python, through
    three logging systems; the file descriptor is the one place they all pass.

    Args:
        log_file: Appended to.
        verbose: Leaves standard error alone, and logs to it too.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    console = RunConsole(rich.console.Console(file=sys.stdout))
    handlers: list[logging.Handler] = [logging.FileHandler(log_file)]
    if verbose:
        handlers.append(logging.StreamHandler(sys.stderr))
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=handlers,
        force=True,
    )
    ours = logging.getLogger("cifar")
    ours.addHandler(console)
    terminal = os.dup(2)
    try:
        if not verbose:
            with log_file.open("a") as file:
                os.dup2(file.fileno(), 2)
        yield console
    finally:
        sys.stderr.flush()
        os.dup2(terminal, 2)
        os.close(terminal)
        ours.removeHandler(console)
