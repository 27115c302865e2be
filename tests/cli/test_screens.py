"""What commands print in terminals of four widths; pictures of it are in test-results."""

import re
import shlex
import sys

import pytest

from pipeline_def.code_version import ROOT
from tests.pictures import draw
from tests.terminal import run_in_terminal

SCREENS = ROOT / "test-results" / "terminal"
WIDTHS = (60, 80, 100, 200)
COMMANDS = {
    "runs": ("runs", "--output", "{output}"),
    "status": ("status", "--output", "{output}", "--server", "localhost:1"),
    "versions": ("versions", "--output", "{output}"),
    "config": ("config",),
    "run-help": ("run", "--help"),
    "predict": ("predict", "missing.png", "--server", "localhost:1"),
}


@pytest.fixture(scope="module", params=WIDTHS)
def screens(request, output, pushed, refused) -> tuple[int, dict[str, str]]:
    """A width, and what each command prints at it; one shell runs all of them."""
    separator = "=" * 8
    lines = []
    for arguments in COMMANDS.values():
        words = [word.format(output=output) for word in arguments]
        lines.append(shlex.join([sys.executable, "-c", PROGRAM, *words]))
        lines.append(f"echo {separator}")
    _, shown = run_in_terminal(["sh", "-c", "\n".join(lines)], COLUMNS=str(request.param))
    return request.param, dict(zip(COMMANDS, shown.split(separator), strict=False))


PROGRAM = "from cli.main import main; main(prog_name='cifar')"


def test_every_line_fits_and_every_word_is_whole(screens):
    width, shown = screens
    for name, text in shown.items():
        draw(text.lstrip(), SCREENS / f"{name}-{width}.svg", width)
        assert "Traceback" not in text
        for line in text.splitlines():
            if len(line) > width:  # a path, or a command to paste, which stay whole
                assert re.fullmatch(r"\s*(\S*/\S*|cifar .*)", line), (name, line)


def test_the_words_of_help_are_the_same_at_every_width(screens):
    _, shown = screens
    assert "smoke|quick|best|reference|FILE" in shown["run-help"].replace("\r\n", "")
    assert "train_steps" in shown["config"]
