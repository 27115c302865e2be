"""What several commands share: examples in the help, and an option."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from contract import metadata_url


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
        help="Holds the URL of the metadata, if they are not in the output folder: "
        f"{metadata_url.FORM}. By default the environment variable "
        f"{metadata_url.ENVIRONMENT_VARIABLE} holds it.",
    )(command)
