"""`cifar drift`. Heavy modules wait until it runs."""

import dataclasses
import sys
from pathlib import Path

import click

from cli.command_help import examples, settings_option
from cli.runs import json_option
from cli.versions import folder_of, place_options
from contract import imports
from contract.drift_record import DRIFT_LIMITS
from pipeline_def.config import apply_settings, check_is_read, find_preset

DRIFTED_EXIT_CODE = 3
UNUSABLE_EXIT_CODE = 4


@click.command(
    epilog=examples(
        "cifar drift /logs                      # a folder and all below it",
        "cifar drift '/logs/cifar10-20261126*'  # the files of a day",
        "cifar drift /logs --version 1795386836 --set max_image_distance=0.2",
    )
)
@click.argument("logs", nargs=-1, required=True, metavar="LOGS…")
@place_options
@click.option(
    "--version",
    type=int,
    help="The version whose requests to compare. [default: the served one]",
)
@settings_option
@json_option
def drift(
    logs: tuple[str, ...],
    output: Path,
    model: str,
    serving_dir: Path | None,
    version: int | None,
    settings: tuple[str, ...],
    json_output: bool,
) -> None:
    """Compare logged requests with the training data.

    The data is that of the served version, or of --version. LOGS are folders, files or patterns
    of PredictionLogs, which a server writes if its config has a logging_config. The images are
    compared with those of train, and the predicted classes with its labels; max_label_distance
    and max_image_distance are the limits. The output folder gets drift.html, a page with both
    distributions, and drift.json with the numbers.

    Exit code 0: no drift. 3: drifted. 4: the logs are unusable. 1: any other error.
    """
    from contract import drift_record, records, terminal
    from contract.writing import write_whole

    try:
        check_is_read(settings, DRIFT_LIMITS)
        config = apply_settings(find_preset(), settings)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    model_dir = folder_of(output, model, serving_dir)
    imports.silence()
    from components import drift as drift_check
    from components.data_gate import DataLimits
    from report import drift as drift_report
    from serving.request_logs import UnusableLogsError

    limits = records.from_fields(DataLimits, dataclasses.asdict(config))
    try:
        found = drift_check.examine(logs, model_dir, limits, version)
    except UnusableLogsError as error:
        terminal.say(f"Error: {error}", err=True)
        sys.exit(UNUSABLE_EXIT_CODE)
    output.mkdir(parents=True, exist_ok=True)
    write_whole(output / drift_record.DRIFT_FILE, records.to_json(found))
    write_whole(output / drift_record.DRIFT_PAGE_FILE, drift_report.render(found))
    if json_output:
        click.echo(records.to_json(found).rstrip())
    else:
        terminal.say(*drift_report.as_lines(found, terminal.width()))
        terminal.say("", f"Page      {output / drift_record.DRIFT_PAGE_FILE}")
    sys.exit(DRIFTED_EXIT_CODE if found.drifted else 0)
