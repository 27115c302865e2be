"""What commands print in terminals of four widths; pictures of it are in test-results."""

import json
import re
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
    "lineage": ("lineage", "--output", "{output}"),
    "clean": ("clean", "--output", "{output}", "--dry-run"),
    "config": ("config",),
    "run-help": ("run", "--help"),
    "predict": ("predict", "missing.png", "--server", "localhost:1"),
    "data-verify": ("data", "verify", str(ROOT / "data_sources/sample")),
    "beam-status": ("beam", "status", "--folder", "{folder}"),
    "pin": ("versions", "pin", "1", "--output", "{output}"),
    "doctor": ("doctor", "{output}/serving/cifar10"),
    "compile": ("kubeflow", "compile", "--image", "i:1", "--output", "{folder}/p.yaml"),
    "dry-run": ("run", "--dry-run", "--data", "sample", "--output", "{output}"),
}
SEPARATOR = "=" * 8
# One interpreter, since some commands import TFX.
PROGRAM = f"""
import contextlib, json, os, sys
from cli.main import main
for width in {WIDTHS}:
    os.environ["COLUMNS"] = str(width)
    for words in json.loads(sys.argv[1]):
        with contextlib.suppress(SystemExit):
            main(words, prog_name="cifar")
        print("{SEPARATOR}", flush=True)
"""


@pytest.fixture(scope="module")
def screens(output, pushed, refused, tmp_path_factory) -> dict[int, dict[str, str]]:
    """What each command prints, by width."""
    folder = tmp_path_factory.mktemp("screens")
    places = {"output": output, "folder": folder}
    commands = [[word.format(**places) for word in words] for words in COMMANDS.values()]
    _, shown = run_in_terminal([sys.executable, "-c", PROGRAM, json.dumps(commands)])
    parts = shown.split(SEPARATOR)
    assert len(parts) == len(WIDTHS) * len(COMMANDS) + 1, shown
    found = {}
    for number, width in enumerate(WIDTHS):
        found[width] = dict(zip(COMMANDS, parts[number * len(COMMANDS) :], strict=False))
        for name, text in found[width].items():
            draw(text.lstrip(), SCREENS / f"{name}-{width}.svg", width)
    return found


@pytest.mark.parametrize("width", WIDTHS)
def test_every_line_fits_and_every_word_is_whole(screens, width):
    for name, text in screens[width].items():
        assert "Traceback" not in text
        for line in text.splitlines():
            if len(line) > width:  # a path, a hash or a quoted word, which stays whole
                whole = r"\s*(\S*/\S*|[0-9a-f]{64}|'.*)( \\)?"
                assert re.fullmatch(whole, line), (name, line)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_words_are_the_same_at_every_width(screens, width):
    shown = screens[width]
    assert "smoke|quick|best|reference|FILE" in shown["run-help"]
    assert "train_steps" in shown["config"]
    for name in ("status", "clean", "data-verify", "compile", "dry-run"):
        words = shown[name].split()
        assert words and words == screens[200][name].split(), name


def test_nothing_of_third_parties_is_shown(screens):
    for name, text in screens[80].items():
        assert not re.search(r"^(WARNING|[IWEF]\d{4} |.*\wWarning:)", text, re.MULTILINE), name
