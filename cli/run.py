"""`cifar run`: the pipeline, once."""

import dataclasses
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from cli.command_help import (
    data_option,
    examples,
    metadata_url_option,
    output_option,
    preset_lines,
    preset_option,
    runner_options,
    settings_option,
    trainer_module_option,
)
from pipeline_def.beam.runner import Runner
from pipeline_def.config import apply_settings, find_preset

if TYPE_CHECKING:
    from pipeline_def.dry_run import PlannedStage

NOT_BLESSED_EXIT_CODE = 3


@click.command(
    epilog=preset_lines()
    + "\n\n"
    + examples(
        "cifar run",
        "cifar run --preset smoke --data sample",
        "cifar run --set train_steps=20_000 --set learning_rate=0.1",
        "cifar run --trainer-module my_team.flowers",
        "cifar run --preset best --dry-run",
        "cifar run --if-changed --on-end ./notify",
        "cifar run --runner flink --runner-url jobs.example:8099 --parallelism 8",
    )
)
@preset_option("The settings to start from.")
@trainer_module_option
@data_option
@output_option
@settings_option
@metadata_url_option
@runner_options
@click.option(
    "--dry-run", is_flag=True, help="Show which stages would run and why, and run nothing."
)
@click.option(
    "--if-changed",
    is_flag=True,
    help="Do nothing if data, code and settings are the same as in the last run that pushed.",
)
@click.option(
    "--on-end",
    default="",
    metavar="COMMAND",
    help="A shell command to run when the run has ended, successful or not. It reads the run's "
    "record (run.json) from standard input; CIFAR_RUN_RECORD is the path of that file.",
)
@click.option(
    "--verbose",
    is_flag=True,
    help="Show every log line, including those of TensorFlow and TFX.",
)
def run(
    preset: str,
    trainer_module: str,
    data_source: str,
    output: str,
    settings: tuple[str, ...],
    metadata_url: str,
    dry_run: bool,
    if_changed: bool,
    on_end: str,
    verbose: bool,
    beam_runner: Runner,
) -> None:
    """Run the pipeline, from images to a pushed model.

    Exit code 0: pushed. 3: trained and evaluated, but the gate did not bless the model.
    1: failed. 2: a wrong option. 130: stopped by Ctrl-C. 143: stopped by SIGTERM.
    """
    try:
        config = dataclasses.replace(
            find_preset(preset, trainer_module),
            data=data_source,
            output_dir=output,
            metadata_url=metadata_url,
        )
        config = apply_settings(config, settings)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    from contract import terminal
    from pipeline_def import local_runner, summary

    if dry_run:
        show_plan(local_runner.dry_run(config))
        return
    if if_changed and (equal := local_runner.find_equal(config)):
        terminal.say(
            f"Nothing changed since the run {equal.run_id}, which pushed version "
            f"{equal.pushed_version}."
        )
        return
    record = local_runner.run(config, verbose, beam_runner, on_end)
    terminal.say(*summary.summary_lines(record))
    if record.data_source == "sample":
        terminal.say("Warning: trained on the bundled sample of 1,200 images, not on CIFAR-10.")
    sys.exit(0 if record.status == "pushed" else NOT_BLESSED_EXIT_CODE)


def show_plan(stages: "Iterable[PlannedStage]") -> None:
    """Prints a line for each stage: whether it would run, and why."""
    from contract import terminal

    for stage in stages:
        line = f"  {stage.name:<18} {'cached' if stage.cached else 'runs':<8} {stage.why}"
        click.echo(terminal.wrap(line, terminal.width(), indent=6))
