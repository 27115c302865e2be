"""The console script `cifar`. Heavy modules are imported by the command that needs them."""

import logging
import sys
from typing import Any

import click

from cli.beam import beam
from cli.bench import bench
from cli.clean import clean
from cli.command_help import show_whole_words
from cli.config import config
from cli.data import data
from cli.drift import drift
from cli.kubeflow import kubeflow
from cli.run import run
from cli.runs import board, lineage, list_runs, report, status
from cli.serving import doctor, predict, serve
from cli.tune import tune
from cli.versions import rollback, versions
from contract import stopping

COMPLETION = """\b
Completion with the Tab key, in ~/.bashrc or ~/.zshrc:
  eval "$(_CIFAR_COMPLETE=bash_source cifar)"
  eval "$(_CIFAR_COMPLETE=zsh_source cifar)"
"""


class OneLineErrors(click.Group):
    """A group whose commands end in one line per error; --debug shows the traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command, and reports an error in one line."""
        try:
            with stopping.signals_raise():
                return super().invoke(ctx)
        except stopping.StoppedError as stopped:
            goes_on = ctx.invoked_subcommand in ("run", "tune", "data")
            advice = " Run the same command again to continue." if goes_on else ""
            from contract import terminal

            terminal.say(f"{stopped}.{advice}", err=True)
            stopping.end_process(stopped)
        except (
            click.exceptions.Exit,
            click.exceptions.NoArgsIsHelpError,
            click.Abort,
            BrokenPipeError,
        ):
            raise
        except click.UsageError as error:
            # With what click adds when it shows an error, such as what may have been meant.
            raise click.UsageError(folded(error.format_message()), error.ctx) from error
        except click.ClickException as error:
            raise click.ClickException(folded(error.format_message())) from error
        except Exception as error:
            if ctx.params["debug"]:
                raise
            raise click.ClickException(folded(str(error) or repr(error))) from error


class Warnings(logging.Handler):
    """Prints warnings on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one."""
        from contract import terminal

        terminal.say(f"Warning: {record.getMessage()}", err=True)


def folded(message: str) -> str:
    """Returns an error that a terminal shows with its words whole; a pipe gets one line."""
    from contract import terminal

    width = terminal.width(sys.stderr)
    lines = f"Error: {message}".splitlines()
    return "\n".join(terminal.wrap(line, width) for line in lines).removeprefix("Error: ")


@click.group(
    cls=OneLineErrors,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=COMPLETION,
)
@click.version_option("0.1.0", prog_name="cifar")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Train an image classifier, check it, and push it for TensorFlow Serving."""
    logging.getLogger("cifar").handlers = [Warnings(logging.WARNING)]


for command in (
    run,
    tune,
    config,
    data,
    status,
    list_runs,
    report,
    lineage,
    board,
    serve,
    predict,
    versions,
    rollback,
    clean,
    drift,
    doctor,
    kubeflow,
    beam,
    bench,
):
    main.add_command(command)
show_whole_words(main)
