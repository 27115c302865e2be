"""`cifar bench`: the numbers of the README, measured here and now."""

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

import click

from cli.command_help import examples
from contract import imports

BENCHMARKS = [  # of these, the ones that are there
    name
    for name in (
        "pipeline",
        "training",
        "accuracy",
        "serving",
        "predict",
        "kubeflow",
        "report",
        "beam",
    )
    if (Path(__file__).parents[1] / "benchmarks" / f"{name}.py").is_file()
]


@click.command(epilog=examples("cifar bench pipeline", "cifar bench report --json"))
@click.argument("name", type=click.Choice(BENCHMARKS))
@click.option(
    "--data",
    "data_source",
    metavar="auto|sample|cifar100|DIR|ARCHIVE",
    help="What to measure on, as in `cifar run`.",
)
@click.option(
    "--scale",
    metavar="N[,N…]",
    callback=lambda _, __, text: text and [int(size) for size in text.split(",")],
    help="How many times that data, for `beam` (1,10 unless given) and `pipeline`.",
)
@click.option(
    "--presets",
    metavar="NAME[,NAME…]",
    callback=lambda _, __, text: text and text.split(","),
    help="Which to train, for `accuracy`: quick,best,reference unless given.",
)
@click.option(
    "--seeds",
    metavar="N[,N…]",
    callback=lambda _, __, text: text and [int(seed) for seed in text.split(",")],
    help="One training of each preset for each, for `accuracy`: 0,1,2 unless given.",
)
@click.option(
    "--steps", type=click.IntRange(min=1), metavar="N", help="Of each training, for `accuracy`."
)
@click.option("--json", "json_output", is_flag=True, help="Print one JSON object.")
def bench(name: str, data_source: str | None, json_output: bool, **only_some: Any) -> None:
    """Repeat the measurements of NAME on this machine.

    Exit code 1: a target was missed.
    """
    imports.silence()
    measure = importlib.import_module(f"benchmarks.{name}").main
    given = {"data": data_source, **only_some}
    options = {option: value for option, value in given.items() if value}
    for option in options.keys() - inspect.signature(measure).parameters.keys():
        raise click.UsageError(f"The benchmark {name} takes no --{option}.")
    sys.exit(measure(json_output, **options))
