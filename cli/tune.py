"""`cifar tune`: a search for better hyper-parameters."""

import dataclasses
import shlex
import sys
from pathlib import Path

import click

from cli.command_help import (
    data_option,
    examples,
    metadata_url_option,
    output_option,
    preset_option,
    trainer_module_option,
)
from contract import search_space
from pipeline_def.config import PipelineConfig, apply_settings, find_preset


@click.command(
    epilog=examples(
        "cifar tune --set learning_rate=log:0.01..0.2 --set train_steps=1_000",
        "cifar tune --set momentum=0.8,0.9,0.95 --set label_smoothing=0..0.2 --trials 40",
        "cifar run --preset output/tuned.yaml --set train_steps=2_600",
    )
)
@preset_option("The settings to start from.")
@trainer_module_option
@data_option
@output_option
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=LOW..HIGH|log:LOW..HIGH|VALUE,VALUE…|VALUE",
    help="Search a range or a list, or set a single value; can be repeated.",
)
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    default=PipelineConfig.tuning_trials,
    show_default=True,
    metavar="N",
    help="The total number of trials, including those of an earlier search for the same.",
)
@click.option(
    "--held-out",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=PipelineConfig.tuning_held_out,
    show_default=True,
    metavar="FRACTION",
    help="The share of the train examples that scores the trials; eval images are not used.",
)
@click.option(
    "--parallel",
    type=click.IntRange(min=1),
    default=PipelineConfig.tuning_parallel,
    show_default=True,
    metavar="N",
    help="The number of trials at the same time, each with its share of the cores.",
)
@metadata_url_option
@click.option(
    "--verbose",
    is_flag=True,
    help="Show every log line, including those of TensorFlow and TFX.",
)
def tune(
    preset: str,
    trainer_module: str,
    data_source: str,
    output: str,
    settings: tuple[str, ...],
    trials: int,
    held_out: float,
    parallel: int,
    metadata_url: str,
    verbose: bool,
) -> None:
    """Search for better hyper-parameters.

    The result is a page and a preset file. Trials that fall behind the others stop early. To
    continue a search that was stopped or killed, run the same command again.
    """
    searched = [one for one in settings if search_space.is_search(one.partition("=")[2])]
    if not searched:
        raise click.UsageError(
            "There is nothing to search: give --set a range (learning_rate=0.01..0.2) or a "
            "list (momentum=0.8,0.9)."
        )
    try:
        config = dataclasses.replace(
            find_preset(preset, trainer_module),
            data=data_source,
            output_dir=output,
            metadata_url=metadata_url,
        )
        config = apply_settings(config, [one for one in settings if one not in searched])
        config = dataclasses.replace(
            config,
            tuned=" ".join(searched),
            tuning_trials=trials,
            tuning_held_out=held_out,
            tuning_parallel=parallel,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    from contract import terminal
    from pipeline_def import tuning

    found = tuning.run(config, verbose)
    best = found.record.best
    cifar = Path(sys.argv[0])
    terminal.say(
        "",
        f"Best      {best.accuracy:.2%} on held-out train examples, in trial {best.number}",
        *(f"            {name} = {value}" for name, value in best.values.items()),
        f"Page      {found.page}",
        terminal.Command(f"Next      {cifar} run --preset {shlex.quote(str(found.preset))}"),
        terminal.Command(
            f"          {cifar.with_name('tensorboard')} --logdir "
            f"{shlex.quote(str(found.trials_dir))}"
        ),
    )
