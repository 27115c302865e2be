"""`cifar report`, `status`, `runs`, `lineage`, `board`. Heavy modules wait until one runs."""

import contextlib
import dataclasses
import json
from pathlib import Path

import click

from cli.command_help import examples, metadata_url_option
from contract import imports, stopping
from contract.files import PAGE_FILE
from pipeline_def.config import PipelineConfig

DEFAULTS = PipelineConfig()

output_option = click.option(
    "--output",
    default="output",
    show_default=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="The output folder of the runs.",
)
json_option = click.option("--json", "json_output", is_flag=True, help="Print JSON.")
model_option = click.option(
    "--model", default=DEFAULTS.model_name, show_default=True, help="The name of the model."
)


@click.command(
    epilog=examples(
        "cifar report",
        "cifar report --all",
        "cifar report --compare 2026-11-22T21-51-45 1795386836 latest",
    )
)
@click.argument("names", nargs=-1, metavar="[RUN]…")
@click.option("--all", "all_runs", is_flag=True, help="Write the page about all runs.")
@click.option("--compare", is_flag=True, help="Write a page that compares the runs.")
@click.option(
    "--to",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to write the page.  [default: report.html or compare.html in DIR]",
)
@output_option
@metadata_url_option
def report(
    names: tuple[str, ...],
    all_runs: bool,
    compare: bool,
    to: Path | None,
    output: Path,
    metadata_url: str,
) -> None:
    """Write the report of a RUN as one HTML page.

    The page needs no other file and no network. RUN is `latest`, the start of a run's id, a
    version that a run pushed, or a folder with a run.json. The page of a failed run shows
    everything up to the failure.
    """
    if all_runs and (names or compare or to):
        raise click.UsageError("--all cannot be combined with RUN, --compare or --to.")
    if compare and len(names) < 2:
        raise click.UsageError("--compare needs at least two runs.")
    if len(names) > 1 and not compare:
        raise click.UsageError("Name one RUN, or add --compare.")
    imports.silence()  # a run that failed is read with TensorFlow
    from contract import terminal
    from report import run_report, runs

    found = [runs.find_run(output, name) for name in names or [runs.LATEST]]
    if all_runs:
        page = run_report.write_history(output)
    elif compare:
        page = to or output / "compare.html"
        run_report.write_comparison(found, page)
    else:
        page = to or output / PAGE_FILE
        run_report.write_report(found[0], page, metadata_url=metadata_url)
    terminal.say(f"Wrote {page} ({page.stat().st_size / 1e6:.1f} MB)")


@click.command(epilog=examples("cifar status", "cifar status --output /data/runs --json"))
@output_option
@model_option
@click.option(
    "--server",
    default="localhost:8501",
    show_default=True,
    metavar="HOST:PORT",
    help="The REST address of a model server.",
)
@json_option
def status(output: Path, model: str, server: str, json_output: bool) -> None:
    """Show what ran, what is pushed and what is served.

    For the stages of the last run, it shows which came from the cache.
    """
    from contract import records, terminal
    from report import overview

    found = overview.read_overview(output, model, server)
    if json_output:
        click.echo(records.to_json(found).rstrip())
        return
    terminal.say(*overview.as_lines(found))


@click.command("runs", epilog=examples("cifar runs", "cifar runs --json"))
@output_option
@json_option
def list_runs(output: Path, json_output: bool) -> None:
    """List the runs of an output folder, oldest first."""
    from contract import terminal
    from report import overview, runs

    found = [runs.summary(run) for run in runs.read_runs(output)]
    if json_output:
        click.echo(json.dumps([dataclasses.asdict(run) for run in found], indent=2))
    elif found:
        terminal.say(*overview.run_lines(found, terminal.width()))
    else:
        terminal.say(f"There are no runs in {output}; `cifar run` makes one.")


@click.command(
    epilog=examples(
        "cifar lineage",
        "cifar lineage 1795386836 --json",
        "cifar lineage --dot | dot -Tsvg > lineage.svg",
    )
)
@click.argument("version", default="latest", metavar="[VERSION]")
@output_option
@metadata_url_option
@click.option("--dot", is_flag=True, help="Print a graph for Graphviz.")
@json_option
def lineage(
    version: str, output: Path, metadata_url: str, dot: bool, json_output: bool
) -> None:
    """Show where a pushed VERSION comes from.

    Each stage that led to it is listed, back to the batch files and the code.
    """
    from contract import metadata, terminal
    from report import lineage as report_lineage
    from report import run_report, runs

    if not metadata_url and not (output / metadata.SQLITE_FILE).is_file():
        raise FileNotFoundError(
            f"{output} has no metadata.sqlite. `cifar run` creates one; --output or "
            "--metadata-url-file names another place."
        )
    metadata.check(output, metadata_url)
    folders = run_report.pushed_versions(runs.read_runs(output))
    connection = metadata.connection_to(output, metadata_url, read_only=True)
    found = report_lineage.trace(connection, version, folders)
    if json_output:
        click.echo(json.dumps(found.as_dict(), indent=2))
    elif dot:
        click.echo(report_lineage.as_dot(found))
    else:
        terminal.say(*report_lineage.as_text(found))


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    epilog=examples("cifar board", "cifar board --output /data/runs --port 6007"),
)
@output_option
@click.pass_context
def board(context: click.Context, output: Path) -> None:
    """Start TensorBoard on the trainings of all runs.

    This includes a training in progress. Each training has the name of the run that started it.
    All other flags are passed on to TensorBoard. Press Ctrl-C to stop it.
    """
    folder = output / "checkpoints"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} does not exist: no run has trained there. `cifar run` does; "
            "--output names another folder."
        )
    imports.silence()
    from contract import terminal
    from report import board

    with board.named_trainings(output) as trainings:
        terminal.say(
            f"TensorBoard is at {board.launch(trainings, context.args)}  Ctrl-C ends it."
        )
        with contextlib.suppress(KeyboardInterrupt), stopping.Alarm() as alarm:
            alarm.wait()
