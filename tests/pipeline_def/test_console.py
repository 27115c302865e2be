"""What a run shows, in a pseudo-terminal and in a pipe."""

import re
import subprocess
import sys

import pytest

from pipeline_def.code_version import ROOT
from tests.pictures import draw
from tests.terminal import run_in_terminal

# Stages: one that trains, one that counts, one from the cache, one that fails. Between them
# what third parties do: warn, log, and write to standard error from below Python.
PROGRAM = """
import logging, os, sys, time, warnings
from pathlib import Path
from contract import events
from pipeline_def.console import quiet

train = logging.getLogger("cifar.train")
with quiet(Path(sys.argv[1]), "--verbose" in sys.argv, {"Evaluator": 8.0}) as console:
    with console.stage("Trainer"):
        warnings.warn("third-party warning")
        logging.getLogger("absl").warning("third-party log")
        os.write(2, b"third-party noise\\n")
        for step in (10, 20, 30):
            train.info(f"step {step} of 30  loss 2.500  1,234 images/s")
            events.send(events.WorkDone(step, 30, "step", "loss 2.500  1,234 images/s"))
            time.sleep(0.3)
        train.info("step 30 evaluated")
    with console.stage("CifarExampleGen"):
        events.begin(6, "batches")
        for _ in range(3):
            events.advance(2)
            time.sleep(0.3)
    with console.stage("Transform") as finished:
        finished(True)
    with console.stage("Evaluator"):
        time.sleep(0.3)
        raise SystemExit(1)
"""
STEP_LINE = "    step {} of 30  loss 2.500  1,234 images/s"
STAGE_LINES = [
    r"  Trainer +\d\.\d s   step 30 evaluated",
    r"  CifarExampleGen +\d\.\d s",
    r"  Transform +cached",
    r"  Evaluator +failed",
]
SHOWN = ROOT / "test-results" / "terminal"
CONTROL = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


def program(log_file, *arguments: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM, str(log_file), *arguments]


@pytest.fixture(scope="module")
def log_file(tmp_path_factory):
    return tmp_path_factory.mktemp("console") / "run.log"


@pytest.fixture(scope="module")
def piped(log_file) -> subprocess.CompletedProcess:
    return subprocess.run(program(log_file), capture_output=True, text=True)


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> str:
    """Everything that was sent to a terminal."""
    return run_in_terminal(program(tmp_path_factory.mktemp("terminal") / "run.log"))[1]


def test_a_pipe_gets_plain_lines(piped):
    assert "\x1b" not in piped.stdout
    lines = piped.stdout.splitlines()
    # Three steps came within a second: the first is shown, and the last one always.
    assert lines[:2] == [STEP_LINE.format(10), STEP_LINE.format(30)]
    for line, expected in zip(lines[2:], STAGE_LINES, strict=True):
        assert re.fullmatch(expected, line)


def test_third_parties_write_to_the_log_alone(piped, log_file):
    assert "third-party" not in piped.stdout + piped.stderr
    log = log_file.read_text()
    assert all(f"third-party {what}" in log for what in ("warning", "log", "noise"))
    assert "step 20 of 30" in log


def test_verbose_shows_what_third_parties_say(tmp_path):
    command = program(tmp_path / "run.log", "--verbose")
    result = subprocess.run(command, capture_output=True, text=True)
    assert all(f"third-party {what}" in result.stderr for what in ("warning", "log", "noise"))


def test_a_terminal_shows_a_bar_with_rate_and_time_left(shown):
    text = CONTROL.sub("", shown)
    assert re.search(r"Trainer +━+.*20/30  loss 2\.500  1,234 images/s .* s, .* s left", text)
    assert "third-party" not in text
    for expected in STAGE_LINES:
        assert re.search(expected, text)


def test_a_stage_that_says_what_it_has_to_do_moves_a_bar(shown):
    text = CONTROL.sub("", shown)
    assert re.search(r"CifarExampleGen +━+.*4/6 batches  \d+ batches/s .* s, .* s left", text)


def test_a_stage_without_steps_is_measured_by_its_last_time(shown):
    assert re.search(r"Evaluator .*s, about \d\.\d s left", CONTROL.sub("", shown))


def test_colour_is_for_what_failed_and_no_color_is_honoured(shown, tmp_path):
    red = [line for line in shown.splitlines() if "\x1b[31m" in line]
    assert len(red) == 1
    assert "Evaluator" in red[0]
    _, plain = run_in_terminal(program(tmp_path / "run.log"), NO_COLOR="1")
    assert not re.search(r"\x1b\[(3|4|9)\d", plain)


def test_a_terminal_that_cannot_redraw_gets_plain_lines(tmp_path):
    _, shown = run_in_terminal(program(tmp_path / "run.log"), TERM="dumb")
    assert not CONTROL.search(shown)


def test_a_full_disk_under_the_log_is_said_once_and_ends_nothing(tmp_path):
    (tmp_path / "run.log").symlink_to("/dev/full")
    result = subprocess.run(program(tmp_path / "run.log"), capture_output=True, text=True)
    warning, *lines = result.stdout.splitlines()
    assert warning == (
        f"  Warning: the log {tmp_path / 'run.log'} ends here: No space left on device. "
        "The run continues."
    )
    assert lines[1] == STEP_LINE.format(30)
    for line, expected in zip(lines[2:], STAGE_LINES, strict=True):
        assert re.fullmatch(expected, line)
    assert result.stderr == ""
    assert result.returncode == 1  # the program's own


def test_a_warning_is_a_line_of_its_own(tmp_path):
    warns = PROGRAM.replace(
        'train.info("step 30 evaluated")', 'train.warning("a checkpoint is torn")'
    )
    command = [sys.executable, "-c", warns, str(tmp_path / "run.log")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert "  Warning: a checkpoint is torn\n" in result.stdout


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_progress_line_stays_one_line(tmp_path, width):
    command = program(tmp_path / "run.log")
    _, shown = run_in_terminal(command, COLUMNS=str(width))
    until = re.compile(r".*20/30  loss[^\r\n]*", re.DOTALL).match(shown)
    draw(until[0], SHOWN / f"running-{width}.svg", width)
    draw(shown, SHOWN / f"done-{width}.svg", width)
    frames = re.split(r"\r|\n", CONTROL.sub("", shown))
    trainer = [frame for frame in frames if "Trainer" in frame and "/30" in frame]
    assert trainer
    assert all(len(frame.rstrip()) <= width for frame in frames)
    assert "\x1b[2K\x1b[1A" not in shown  # how a second line would be cleared
    assert any("20/30  loss" in frame and "left" in frame for frame in trainer)
    assert ("━" in "".join(trainer)) == (width >= 100)


def test_a_narrow_terminal_folds_lines_between_words(tmp_path):
    says = PROGRAM.replace("step 30 evaluated", "Pushed " + "version 1795413998 " * 4)
    command = [sys.executable, "-c", says, str(tmp_path / "run.log")]
    _, shown = run_in_terminal(command, COLUMNS="60")
    text = CONTROL.sub("", shown).replace("\r\n", "\n").replace("\r", "\n")
    line = re.search(r"^  Trainer +\d\.\d s +(Pushed .*(?:\n {4}.*)*)", text, re.MULTILINE)
    assert line and line[1].split() == ["Pushed", *["version", "1795413998"] * 4]
    assert all(len(one) <= 60 for one in line[0].splitlines())
