"""A smoke run in its own process, and its results compared with an undisturbed run."""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil

RUN = "from cli.main import main; main()", "run", "--preset", "smoke", "--data", "sample"
MARK = {"CIFAR_FAULTS": str(os.getpid())}  # in the environment of every process of a run
TIMEOUT_SECONDS = 900
SECONDS_TO_DIE = 10  # for the children of a run that was killed


class Run:
    """A run in progress; `wait` waits for its end and fills in the other fields."""

    code: int
    seconds: float
    error: str  # what it wrote to standard error
    left: list[str]  # processes that outlived it, temporary files outside its output folder

    def __init__(self, output: Path) -> None:
        self.output = output
        self.ended = "nothing"  # the stage whose line came last
        self._temporary = Path(tempfile.mkdtemp(prefix="cifar-faults-"))
        self._errors = Path(f"{self._temporary}.errors")
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-c", *RUN, "--output", str(output)],
            env=os.environ | MARK | {"TMPDIR": str(self._temporary)},
            stdout=subprocess.PIPE,
            stderr=self._errors.open("w"),
            text=True,
        )
        self._watchdog = self.after(TIMEOUT_SECONDS, signal.SIGKILL)

    def after(self, seconds: float, number: int) -> threading.Timer:
        timer = threading.Timer(seconds, self._process.send_signal, [number])
        timer.daemon = True
        timer.start()
        return timer

    def read_until(self, start: str) -> None:
        """Returns when it prints a line with this beginning, or has ended."""
        for line in self._process.stdout or ():
            self.ended = re.split(r"\s{2,}|:", line.strip())[0]
            if self.ended.startswith(start):
                break

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> "Run":
        self.read_until("never said")
        self.code = self._process.wait()
        self._watchdog.cancel()
        self.seconds = time.monotonic() - self._started
        self.error = self._errors.read_text().strip()
        self._errors.unlink()
        _, alive = psutil.wait_procs(list(marked_processes()), SECONDS_TO_DIE)
        self.left = [f"orphan {process.pid}: {process.cmdline()}" for process in alive]
        for process in alive:
            process.kill()
        self.left += [f"left over: {path}" for path in self._temporary.rglob("*")]
        shutil.rmtree(self._temporary)
        return self


def marked_processes() -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["environ"]):
        if MARK.items() <= (process.info["environ"] or {}).items():
            yield process


@dataclasses.dataclass(frozen=True)
class Result:
    """The results of an undisturbed run, and of any run that follows a fault."""

    accuracy: float
    predictions: bytes
    version_files: dict[str, str]  # SHA-256 of the weights by path; of others, empty
    kinds: set[str]  # of the files and folders in the output folder
    stages: list[str]
    seconds: float


def read_result(run: Run) -> Result:
    record = json.loads((run.output / "run.json").read_text())
    model_run = Path(record["stages"]["Trainer"]["outputs"]["model_run"])
    version = Path(record["pushed_path"])
    return Result(
        accuracy=record["accuracy"],
        predictions=np.load(model_run / "eval_predictions.npz")["probabilities"].tobytes(),
        version_files={
            str(path.relative_to(version)): hashlib.sha256(path.read_bytes()).hexdigest()
            if path.parent.name == "variables"
            else ""  # names the run, or is a protobuf whose maps have no order
            for path in version.rglob("*")
            if path.is_file()
        },
        kinds={kind_of(path, run.output) for path in run.output.rglob("*")},
        stages=["import TFX", *record["stages"]],
        seconds=run.seconds,
    )


def kind_of(path: Path, output: Path) -> str:
    """Returns a path with every number and hash made equal."""
    return re.sub(r"[0-9a-f]{16}|[0-9]+", "N", str(path.relative_to(output)))


def differences(run: Run, expected: Result, is_strict: bool = True) -> list[str]:
    """Returns how a run that has ended differs from the undisturbed one.

    Args:
        run: The run.
        expected: The results of the undisturbed run.
        is_strict: Whether it pushed once and left nothing else.
    """
    if run.code:
        return [f"exit code {run.code}: {run.error[-300:]}", *run.left]
    found = read_result(run)
    wrong = run.left + [
        f"other {name}"
        for name in ("accuracy", "predictions", "version_files")
        if getattr(found, name) != getattr(expected, name)
    ]
    if "Traceback" in run.error:
        wrong.append(f"says {run.error[-300:]}")
    if is_strict:
        wrong += [f"left over: {kind}" for kind in sorted(found.kinds - expected.kinds)]
        pushed = list((run.output / "serving/cifar10").glob("[0-9]*"))
        wrong += [f"pushed {len(pushed)} times"] * (len(pushed) != 1)
    return wrong


@contextlib.contextmanager
def watched(serving: Path, expected: Result, wrong: list[str]) -> Iterator[list[int]]:
    """Polls a serving folder for incomplete versions, as a model server does.

    Yields the number of polls in a list, and adds findings to `wrong`.
    """
    looks, stopped = [0], threading.Event()

    def look() -> None:
        while not stopped.wait(0.005):
            looks[0] += 1
            for version in serving.glob("*/[0-9]*"):
                missing = [n for n in expected.version_files if not (version / n).is_file()]
                if missing and version.is_dir():  # else it was retired meanwhile
                    wrong.append(f"version {version.name} lacked {', '.join(missing)}")
                    return

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield looks
    finally:
        stopped.set()
        thread.join()
