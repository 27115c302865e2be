"""The trials: each yields its name and what went wrong, if anything."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults.runs import Result, Run, differences, kind_of, watched

Trials = Iterator[tuple[str, list[str]]]
EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


def kills(folder: Path, expected: Result, amount: int, chance: random.Random) -> Trials:
    """SIGKILL at a random moment; the run after it ends as an undisturbed one."""
    seconds = expected.seconds
    for number in range(1, amount + 1):
        output = folder / f"kill-{number}"
        wrong: list[str] = []
        with watched(output / "serving", expected, wrong) as looks:
            killed = Run(output)
            moment = chance.uniform(0, seconds)
            timer = killed.after(moment, signal.SIGKILL)
            wrong += killed.wait().left
            timer.cancel()
            after = Run(output).wait()
        seconds = after.seconds  # the machine may be slower now
        wrong += differences(after, expected)
        yield f"{number} at {moment:.1f} s, after {killed.ended}, {looks[0]:,} looks", wrong
        if not wrong:
            shutil.rmtree(output)


def signals(folder: Path, expected: Result, number: signal.Signals) -> Trials:
    """A signal as each stage begins."""

    def is_well(run: Run) -> bool:
        return run.code == EXIT_CODES[number] and len(run.error.splitlines()) <= 1

    output = folder / number.name
    yield from each_stage(output, expected, lambda run: run.send(number), is_well)


def full_disks(folder: Path, expected: Result) -> Trials:
    """A full disk as each stage begins."""
    disk = folder / "disk"
    disk.mkdir()
    filler = disk / "filler"

    def fill(run: Run) -> None:
        with filler.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def is_well(run: Run) -> bool:
        filler.unlink()
        # Exit code 0: it had pushed before, and warns.
        return run.code in (0, 1) and "No space left" in run.error

    mount = ["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        yield "left out: this user may not mount a tmpfs", []
        return
    try:
        yield from each_stage(disk / "output", expected, fill, is_well)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=False)


def each_stage(
    output: Path,
    expected: Result,
    fault: Callable[[Run], None],
    is_well: Callable[[Run], bool],
) -> Trials:
    """A fault in each stage, in one run after another; the last run is undisturbed."""
    for before, stage in zip(["Preset", *expected.stages], expected.stages, strict=False):
        run = Run(output)
        run.read_until(before)
        fault(run)
        wrong = run.wait().left
        if not is_well(run) or "Traceback" in run.error:
            wrong.append(f"exit code {run.code}: {run.error}")
        yield stage, wrong
    yield "the run after them", differences(Run(output).wait(), expected)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "deleted": Path.unlink,
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "flipped": flip,
    "emptied": lambda path: os.truncate(path, 0),
}


def damages(folder: Path, expected: Result, amount: int, chance: random.Random) -> Trials:
    """Damage to a file of each kind; the next run repairs it, or reports it in one line."""
    output, whole = folder / "damaged", folder / "whole"
    for what, pattern in {"finished": "**/*", "half trained": "checkpoints/**/*"}.items():
        shutil.rmtree(output, ignore_errors=True)
        shutil.rmtree(whole, ignore_errors=True)
        run = Run(output)
        if what == "half trained":
            run.read_until("step 40 ")
            run.send(signal.SIGKILL)
        run.wait()
        output.rename(whole)
        files = {
            kind_of(path, whole): path.relative_to(whole)
            for path in sorted(whole.glob(pattern))
            if path.is_file() and path.stat().st_size
        }
        for kind, path in files.items():
            for name in chance.sample(list(DAMAGES), amount):
                shutil.rmtree(output, ignore_errors=True)
                shutil.copytree(whole, output)
                DAMAGES[name](output / path)
                run = Run(output).wait()
                wrong = differences(run, expected, is_strict=False)
                is_named = str(output / path) in run.error and "Traceback" not in run.error
                yield f"{what}: {kind} {name}", [] if run.code and is_named else wrong
