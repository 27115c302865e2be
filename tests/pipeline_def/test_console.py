"""What a run shows, in a pseudo-terminal and in a pipe."""

import re
import subprocess
import sys

from tests.terminal import run_in_terminal

# Three stages: one that trains, one from the cache, one that fails. Between them what third
# parties do: warn, log, and write to standard error from below Python.
PROGRAM = """
import logging, os, sys, time, warnings
from pathlib import Path
from pipeline_def.console import quiet

train = logging.getLogger("cifar.train")
with quiet(Path(sys.argv[1]), "--verbose" in sys.argv, {"Evaluator": 8.0}) as console:
    with console.stage("Trainer"):
        warnings.warn("third-party warning")
        logging.getLogger("absl").warning("third-party log")
        os.write(2, b"third-party noise\\n")
        for step in (10, 20, 30):
            extra = {"step": step, "steps": 30, "loss": 2.5, "examples_per_second": 1234.5}
            train.info(f"step {step} of 30  loss 2.500", extra=extra)
            time.sleep(0.3)
        train.info("step 30 evaluated")
    with console.stage("Transform") as finished:
        finished(True)
    with console.stage("Evaluator"):
        time.sleep(0.3)
        raise SystemExit(1)
"""
STAGE_LINES = [
    r"  Trainer +\d\.\d s   step 30 evaluated",
    r"  Transform +cached",
    r"  Evaluator +failed",
]
COLOUR = re.compile(r"\x1b\[[\d;]*m")
CONTROL = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


def program(log_file, *arguments: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM, str(log_file), *arguments]


def in_a_pipe(log_file, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(program(log_file, *arguments), capture_output=True, text=True)


def test_a_pipe_gets_plain_lines(tmp_path):
    result = in_a_pipe(tmp_path / "run.log")
    assert "\x1b" not in result.stdout
    lines = result.stdout.splitlines()
    # Three steps came within a second: the first is told, and the last one always.
    assert lines[:2] == ["    step 10 of 30  loss 2.500", "    step 30 of 30  loss 2.500"]
    for line, expected in zip(lines[2:], STAGE_LINES, strict=True):
        assert re.fullmatch(expected, line)


def test_third_parties_write_to_the_log_alone(tmp_path):
    result = in_a_pipe(tmp_path / "run.log")
    assert "third-party" not in result.stdout + result.stderr
    log = (tmp_path / "run.log").read_text()
    assert all(f"third-party {what}" in log for what in ("warning", "log", "noise"))
    assert "step 20 of 30" in log


def test_verbose_shows_what_third_parties_say(tmp_path):
    result = in_a_pipe(tmp_path / "run.log", "--verbose")
    assert all(f"third-party {what}" in result.stderr for what in ("warning", "log", "noise"))


def test_a_terminal_shows_a_bar_with_rate_and_time_left(tmp_path):
    _, shown = run_in_terminal(program(tmp_path / "run.log"))
    text = CONTROL.sub("", shown)
    assert re.search(r"Trainer +━+.*20/30  loss 2\.500  1,23\d images/s .* s, .* s left", text)
    assert "third-party" not in text
    for expected in STAGE_LINES:
        assert re.search(expected, text)


def test_a_stage_without_steps_is_measured_by_its_last_time(tmp_path):
    _, shown = run_in_terminal(program(tmp_path / "run.log"))
    assert re.search(r"Evaluator .*s, \d\.\d s left if as last time", CONTROL.sub("", shown))


def test_colour_is_for_what_failed_and_no_color_is_honoured(tmp_path):
    _, shown = run_in_terminal(program(tmp_path / "run.log"))
    red = [line for line in shown.splitlines() if "\x1b[31m" in line]
    assert len(red) == 1
    assert "Evaluator" in red[0]
    _, plain = run_in_terminal(program(tmp_path / "run.log"), NO_COLOR="1")
    assert not re.search(r"\x1b\[(3|4|9)\d", plain)


def test_a_terminal_that_cannot_redraw_gets_plain_lines(tmp_path):
    _, shown = run_in_terminal(program(tmp_path / "run.log"), TERM="dumb")
    assert not CONTROL.search(shown)
