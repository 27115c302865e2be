"""What several commands share: examples in the help, and options."""

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from contract import estimator, metadata_url
from pipeline_def.beam import cluster, runner
from pipeline_def.config import presets

_WIDE_ENOUGH = 70  # columns for two columns, of which the first may have 30
_LONG_NAME = 14
_WHOLE_HYPHEN = "\N{NON-BREAKING HYPHEN}"  # click would break a line after a plain one


class HelpFormatter(click.HelpFormatter):
    """Keeps words whole on a narrow terminal, and commands in a form that can be pasted."""

    def write(self, string: str) -> None:
        """Writes text with plain hyphens."""
        super().write(string.replace(_WHOLE_HYPHEN, "-"))

    def write_text(self, text: str) -> None:
        """Writes paragraphs, and folds the long lines of those that click keeps as they are."""
        from contract import terminal

        start = len(self.buffer)
        super().write_text(text.replace("-", _WHOLE_HYPHEN))
        lines = "".join(self.buffer[start:]).splitlines()
        self.buffer[start:] = [
            f"{part}\n" for line in lines for part in terminal.fold_command(line, self.width)
        ]

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Writes options or commands; on a narrow terminal, meanings below long names."""
        rows = list(rows)
        if self.width < _WIDE_ENOUGH and max(len(name) for name, _ in rows) > _LONG_NAME:
            col_max = 4
        whole = [(name, words.replace("-", _WHOLE_HYPHEN)) for name, words in rows]
        super().write_dl(whole, col_max, col_spacing)


class HelpContext(click.Context):
    """The context of a command whose help HelpFormatter writes."""

    formatter_class = HelpFormatter


def show_whole_words(command: click.Command) -> None:
    """Lets HelpFormatter write the help of a command and of those below it.

    The list of commands has the whole first sentence of each.
    """
    command.context_class = HelpContext
    first_paragraph = inspect.cleandoc(command.help or "").partition("\n\n")[0]
    command.short_help = " ".join(first_paragraph.split())
    for below in getattr(command, "commands", {}).values():
        show_whole_words(below)


def examples(*lines: str) -> str:
    """Returns commands to try, as the epilog of a click command."""
    # Click folds a paragraph unless it starts with a backspace.
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def metadata_url_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --metadata-url-file to a command, which gets the URL as `metadata_url`."""

    def read_url(context: click.Context, parameter: click.Parameter, file: Path | None) -> str:
        try:
            return metadata_url.read(file)
        except ValueError as error:
            raise click.BadParameter(str(error), context, parameter) from error

    return click.option(
        "--metadata-url-file",
        "metadata_url",
        type=click.Path(path_type=Path),
        callback=read_url,
        metavar="FILE",
        help="A file with the URL of the metadata, if it is not in the output folder: "
        f"{metadata_url.FORM}. The environment variable "
        f"{metadata_url.ENVIRONMENT_VARIABLE} can contain the URL instead.",
    )(command)


def trainer_module_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --trainer-module to a command, which gets the dotted path as `trainer_module`."""
    return click.option(
        "--trainer-module",
        default=estimator.DEFAULT,
        show_default=True,
        is_eager=True,
        expose_value=True,
        callback=_find_in_this_folder,
        metavar="DOTTED.PATH",
        help="The Estimator: a module or package in this folder or on the Python path, as "
        f"{estimator.GUIDE} describes.",
    )(command)


def _find_in_this_folder(context: click.Context, parameter: click.Parameter, name: str) -> str:
    """Puts the current folder on the Python path, of child processes too."""
    here = str(Path.cwd())
    if name != estimator.DEFAULT and here not in sys.path:
        sys.path.insert(0, here)
        given = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([here, *filter(None, [given])])
    return name


def preset_option(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Returns a decorator that adds --preset; an empty string means the default."""
    return click.option(
        "--preset",
        default="",
        metavar="|".join([*presets(), "FILE"]),
        shell_complete=lambda _, __, start: [
            name for name in presets() if name.startswith(start)
        ],
        help=f"{what}  [default: {estimator.DEFAULT_PRESET}, or the first one if the trainer "
        "module has no preset of that name]",
    )


def runner_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --runner, --runner-url and --parallelism, which become `beam_runner`."""

    @functools.wraps(command)
    def choose(
        *arguments: Any,
        runner_name: str,
        runner_url: str,
        parallelism: int | None,
        **options: Any,
    ) -> Any:
        try:
            folder = Path(os.environ.get(cluster.FOLDER_VARIABLE, cluster.DEFAULT_FOLDER))
            beam_runner = runner.choose(runner_name, runner_url, parallelism, folder)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        return command(*arguments, beam_runner=beam_runner, **options)

    for option in (
        click.option(
            "--parallelism",
            type=click.IntRange(min=1),
            metavar="N",
            help="Processes per Beam stage. [default: 1 on this machine, 2 on an engine]",
        ),
        click.option(
            "--runner-url",
            default="",
            metavar="HOST:PORT",
            help="The Beam job server of the cluster.  [default: that of `cifar beam start`]",
        ),
        click.option(
            "--runner",
            "runner_name",
            default=runner.LOCAL,
            show_default=True,
            metavar="local|flink|spark|'BEAM ARGS'",
            help="Where to run the Beam stages.",
        ),
    ):
        choose = option(choose)
    return choose


def data_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --data to a command, which gets it as `data_source`."""
    return click.option(
        "--data",
        "data_source",
        default="auto",
        show_default=True,
        metavar="auto|sample|cifar100|DIR|ARCHIVE",
        help="auto (CIFAR-10) and cifar100 are downloaded if necessary; sample is 1,200 "
        "bundled images; DIR contains batches, or pictures in train/CLASS/ and eval/CLASS/.",
    )(command)


def output_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --output to a command: the output folder."""
    return click.option(
        "--output",
        default="output",
        show_default=True,
        metavar="DIR",
        help="The output folder.",
    )(command)


def settings_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --set to a command, which gets the texts as `settings`."""
    return click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="FIELD=VALUE",
        help="Change a field of the preset; can be repeated. `cifar config` lists all fields.",
    )(command)


def preset_lines() -> str:
    """Returns a line for each preset of our Estimator, for the epilog of a command."""
    about = estimator.load().about
    lines = "\n".join(f"  {name:<10} {about.get(name, '')}".rstrip() for name in presets())
    return f"\b\nPresets:\n{lines}"
