"""`cifar versions` and `cifar rollback`. Heavy modules wait until a command runs."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cli.command_help import examples, metadata_url_option
from cli.runs import json_option, model_option, output_option


def place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that say which folder of versions is meant."""
    command = click.option(
        "--serving-dir",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="The serving root, such as a shared one. [default: that of the last run]",
    )(command)
    return output_option(model_option(command))


def folder_of(output: Path, model: str, serving_dir: Path | None) -> Path:
    """Returns the folder of the versions: the one named, or the last run's."""
    from report import runs

    if serving_dir is None:
        latest = next(reversed(runs.read_runs(output)), None)
        serving_dir = Path((latest and latest.settings.serving_dir) or output / "serving")
    return (serving_dir / model).resolve()


@click.group(
    invoke_without_command=True,
    epilog=examples(
        "cifar versions",
        "cifar versions --json --serving-dir /srv/models",
        "cifar versions pin 1795386836",
    ),
)
@place_options
@json_option
@click.pass_context
def versions(
    context: click.Context,
    output: Path,
    model: str,
    serving_dir: Path | None,
    json_output: bool,
) -> None:
    """List every pushed version: state, accuracy, run, data.

    States: served (the highest number), kept (available for a rollback), retired (deleted by a
    later push, see keep_versions), quarantined (not used as a baseline, not pushed again) and
    deleted (by hand).
    """
    if context.invoked_subcommand:
        return
    from contract import terminal
    from report import runs
    from report import versions as report_versions

    model_dir = folder_of(output, model, serving_dir)
    found = report_versions.summarize(model_dir, runs.read_runs(output))
    if json_output:
        click.echo(json.dumps([dataclasses.asdict(version) for version in found], indent=2))
    elif found:
        terminal.say(*report_versions.as_lines(found, terminal.width()))
    else:
        terminal.say(f"There are no versions in {model_dir}; `cifar run` pushes one.")


@versions.command("pin", epilog=examples("cifar versions pin 1795386836"))
@click.argument("version", type=int)
@place_options
@metadata_url_option
def pin(
    version: int, output: Path, model: str, serving_dir: Path | None, metadata_url: str
) -> None:
    """Keep a VERSION: no push retires it.

    keep_versions does not count pinned versions.
    """
    from serving import rollback

    model_dir = folder_of(output, model, serving_dir)
    rollback.pin(model_dir, version)
    show_change(version, "pinned", "unpin")
    record_lineage(model_dir, output, metadata_url)


@versions.command("unpin", epilog=examples("cifar versions unpin 1795386836"))
@click.argument("version", type=int)
@place_options
@metadata_url_option
def unpin(
    version: int, output: Path, model: str, serving_dir: Path | None, metadata_url: str
) -> None:
    """Let later pushes retire a VERSION again."""
    from serving import rollback

    model_dir = folder_of(output, model, serving_dir)
    rollback.pin(model_dir, version, is_pinned=False)
    show_change(version, "not pinned", "pin")
    record_lineage(model_dir, output, metadata_url)


def show_change(version: int, state: str, undo: str) -> None:
    """Prints the new state of a version, and the command that ends it."""
    from contract import terminal

    terminal.say(
        f"Version {version} is {state}.",
        terminal.Command(f"Undo       cifar versions {undo} {version}"),
    )


@click.command(
    "rollback",
    epilog=examples(
        "cifar rollback                        # to the newest kept version of another model",
        "cifar rollback 1795386836",
        "cifar rollback --release 1795402435   # out of quarantine",
        "cifar rollback 1795402435 --no-quarantine",
    ),
)
@click.argument("version", type=int, required=False)
@click.option(
    "--release", "released", type=int, metavar="VERSION", help="Take VERSION out of quarantine."
)
@click.option(
    "--quarantine/--no-quarantine",
    default=True,
    show_default=True,
    help="Whether to keep later runs from pushing the replaced model again.",
)
@place_options
@metadata_url_option
def rollback(
    version: int | None,
    released: int | None,
    quarantine: bool,
    output: Path,
    model: str,
    serving_dir: Path | None,
    metadata_url: str,
) -> None:
    """Serve the model of an earlier VERSION again.

    It gets the next number. The replaced version goes into quarantine: it is not used as a
    baseline, and no run pushes its model again until you release it with --release.
    """
    from contract import terminal
    from serving import rollback as serving_rollback

    if version is not None and released is not None:
        raise click.UsageError("Give either a VERSION to serve again or --release, not both.")
    model_dir = folder_of(output, model, serving_dir)
    if released is not None:
        serving_rollback.release(model_dir, released)
        terminal.say(*serving_rollback.released_lines(model_dir, released))
    else:
        change = serving_rollback.roll_back(model_dir, version, quarantine)
        terminal.say(*serving_rollback.rolled_back_lines(change))
    record_lineage(model_dir, output, metadata_url)


def record_lineage(model_dir: Path, output: Path, metadata_url: str) -> None:
    """Records the change in the metadata; it cannot be undone, so a fault is a warning."""
    from contract import metadata, terminal

    if not metadata_url and not (output / metadata.SQLITE_FILE).is_file():
        terminal.say(
            f"{output} has no metadata, so only {model_dir} records the change.", err=True
        )
        return
    from report import version_lineage

    try:
        metadata.check(output, metadata_url)
        version_lineage.record_changes(metadata.connection_to(output, metadata_url), model_dir)
    except Exception as error:
        terminal.say(
            f"Warning: the metadata does not have the change yet ({error}). The next change of "
            "a version records both.",
            err=True,
        )
