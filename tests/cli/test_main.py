"""The program itself: its errors, its help, and its start-up time."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cli.main import main
from tests.data_sources.test_archive import PAGE
from tests.finished_runs import cifar
from tests.terminal import run_in_terminal

CIFAR = Path(sys.executable).with_name("cifar")


def run_program(*arguments):
    return subprocess.run([CIFAR, *arguments], capture_output=True, text=True, check=False)


def test_program_ends_in_one_line_without_a_traceback(tmp_path):
    page = tmp_path / "cifar-10-binary.tar.gz"
    page.write_bytes(PAGE)
    result = run_program("data", "fetch", "--from", page, "--data-dir", tmp_path / "cifar10")
    assert result.returncode == 1
    assert result.stderr.startswith(f"Error: {page} begins with b'<!DOCTYPE html>")
    assert result.stderr.count("\n") == 1


def test_debug_shows_the_traceback(tmp_path):
    result = run_program("--debug", "data", "verify", tmp_path / "nowhere")
    assert result.returncode == 1
    assert result.stderr.startswith("Traceback")
    assert "FileNotFoundError" in result.stderr


def test_help_imports_nothing_heavy():
    code = (
        "import sys, cli.main\n"
        "print([name for name in ('numpy', 'PIL', 'requests', 'rich', 'tensorflow') "
        "if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert result.stdout == b"[]\n"


def commands(group: click.Group, path: tuple[str, ...] = ("cifar",)):
    """Yields each command that is not a group, with the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


@pytest.mark.parametrize(
    ("words", "command"), commands(main), ids=lambda value: str(value)[:40]
)
def test_every_help_has_an_example(words, command):
    with click.Context(command, info_name=words[-1]) as context:
        example = re.compile(rf"^ {{4,}}{' '.join(words)}( |$)", re.MULTILINE)
        assert example.search(command.get_help(context))


@pytest.mark.parametrize(
    ("words", "command"), commands(main), ids=lambda value: str(value)[:40]
)
def test_every_option_has_a_meaning(words, command):
    options = [one for one in command.params if isinstance(one, click.Option)]
    assert [one.name for one in options if not one.help] == []


@pytest.mark.parametrize("words", [(), ("kubeflow",), ("data",), ("versions",), ("beam",)])
def test_the_list_of_commands_has_whole_sentences(words):
    shown = run_program(*words, "--help").stdout
    assert "Commands:" in shown and "..." not in shown.partition("Commands:")[2]


@pytest.mark.parametrize(
    ("words", "command"), commands(main), ids=lambda value: str(value)[:40]
)
@pytest.mark.parametrize("columns", [60, 80])
def test_an_example_that_is_too_wide_continues_after_a_backslash(
    words, command, columns, monkeypatch
):
    monkeypatch.setenv("COLUMNS", str(columns))
    with command.make_context(words[-1], [], resilient_parsing=True) as context:
        help_text = context.get_help()
    flag_alone = re.compile(r" *--\S+( \S+)?")  # a line of its own
    too_wide = [line for line in help_text.splitlines() if len(line) > columns]
    assert [line for line in too_wide if not flag_alone.fullmatch(line)] == []
    for command_line in command.epilog.splitlines():
        if (pasted := command_line.strip()).startswith("cifar"):
            shown = help_text.replace(" \\\n", " ")
            assert " ".join(pasted.partition(" # ")[0].split()) in " ".join(shown.split())


def test_the_shell_completes_commands():
    environment = {
        "_CIFAR_COMPLETE": "bash_complete",
        "COMP_WORDS": "cifar li",
        "COMP_CWORD": "1",
    }
    command = [*cifar()[:2], "from cli.main import main; main(prog_name='cifar')"]
    result = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert result.stdout == "plain,lineage\n"


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["rn"], "Did you mean one of: 'run', 'runs'?"),
        (["run", "--presett", "quick"], "Did you mean one of: '--preset'"),
        (["run", "--preset", "quik"], "Did you mean quick?"),
        (["run", "--set", "train_step=3"], "Did you mean train_steps?"),
        (
            ["bench", "serv"],
            "Error: Invalid value for 'NAME': 'serv' is not one of 'pipeline',",
        ),
    ],
)
def test_a_mistyped_name_gets_a_suggestion_that_a_terminal_shows_whole(arguments, meant):
    exit_code, shown = run_in_terminal(cifar(*arguments), COLUMNS="60")
    assert exit_code == 2
    assert meant in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 60
