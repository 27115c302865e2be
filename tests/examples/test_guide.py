"""docs/your_own_estimator.md: each command and block of code is run as it is printed."""

import contextlib
import io
import itertools
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import click.testing
import pytest

from cli.main import main
from pipeline_def.code_version import ROOT

GUIDE = (ROOT / "docs/your_own_estimator.md").read_text()
BLOCKS = re.findall(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Iterator[Path]:
    """Where a reader works; the files of the guide are in it, and on the Python path."""
    folder = tmp_path_factory.mktemp("guide")
    for _, name, content in BLOCKS:
        if name:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", [*sys.path])
        patch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
        yield folder


def run_command(command: str) -> str:
    """Returns what a command of `cifar` prints, errors too."""
    program, *arguments = shlex.split(command)
    assert program == "cifar"
    return click.testing.CliRunner().invoke(main, arguments).output


def matches(printed: str, expected: str) -> bool:
    """Returns whether a text is as expected, in which `…` stands for anything."""
    pattern = "(?s:.*?)".join(re.escape(part) for part in expected.strip().split("…"))
    return bool(re.fullmatch(re.sub(r"(\\ ){3,}", r"\\s+", pattern), printed.strip()))


def commands() -> list[tuple[str, str]]:
    """Returns each command of the guide, in its order, and what it should print."""
    consoles = [content for kind, _, content in BLOCKS if kind == "console"]
    found = [
        part.partition("\n")[::2] for content in consoles for part in content.split("$ ")[1:]
    ]
    assert len(found) == sum(content.count("$ ") for content in consoles) > 7
    return found


@pytest.mark.parametrize(("command", "expected"), commands())
def test_a_command_prints_what_the_guide_shows(folder, command, expected):
    printed = run_command(command)
    assert matches(printed, expected), printed


def test_code_prints_what_the_guide_shows():
    for (kind, name, code), (next_kind, _, output) in itertools.pairwise(BLOCKS):
        if kind == "python" and not name:
            assert next_kind == "output"
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(code, {})
            assert printed.getvalue() == output


def test_the_module_of_the_guide_is_as_small_as_is_said():
    (code,) = [content for _, name, content in BLOCKS if name == "my_team/flowers.py"]
    assert len([line for line in code.splitlines() if line.strip()]) <= 40


def test_the_image_of_the_guide_puts_the_module_where_the_steps_find_it():
    (added,) = [content for kind, _, content in BLOCKS if kind == "dockerfile"]
    image = (ROOT / "kubeflow/Dockerfile").read_text()
    last_stage = image.rpartition("FROM ")[2]
    (workdir,) = re.findall(r"^WORKDIR (\S+)$", last_stage, re.MULTILINE)
    assert re.fullmatch(rf"FROM \S+\nCOPY my_team {workdir}/my_team\n", added)


def test_every_block_of_the_guide_is_run_here():
    kinds = {kind for kind, _, _ in BLOCKS}
    assert kinds == {"python", "console", "output", "dockerfile"}
    assert GUIDE.count("\n```") == 2 * len(BLOCKS)
