"""`cifar bench`: repeats the measurements on this machine."""

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

import click

from cli.command_help import examples
from contract import imports

BENCHMARKS = [  # those that are installed
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


class Listed(click.ParamType):
    """Values of a type with commas between them, such as `0,1,2`."""

    def __init__(self, kind: click.ParamType) -> None:
        """Takes the type of each value."""
        self.name = f"list of {kind.name}"
        self._kind = kind

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[Any]:
        """Returns the values; fails as their type does."""
        return [self._kind.convert(one, param, ctx) for one in value.split(",")]


@click.command(
    help=f"""Repeat a measurement on this machine.

    NAME is one of {", ".join(BENCHMARKS) or "none, outside a checkout"}. Exit code 1: a target
    was missed.
    """,
    epilog=examples("cifar bench pipeline", "cifar bench report --json"),
)
@click.argument("name", type=click.Choice(BENCHMARKS), metavar="NAME")
@click.option(
    "--data",
    "data_source",
    metavar="auto|sample|cifar100|DIR|ARCHIVE",
    help="The data to measure with, as for `cifar run`.",
)
@click.option(
    "--scale",
    metavar="N[,N…]",
    type=Listed(click.IntRange(min=1)),
    help="For `beam` and `pipeline`: repeat the data this many times. [default for beam: 1,10]",
)
@click.option(
    "--presets",
    metavar="NAME[,NAME…]",
    type=Listed(click.STRING),
    help="For `accuracy`: the presets to train. [default: quick,best,reference]",
)
@click.option(
    "--seeds",
    metavar="N[,N…]",
    type=Listed(click.INT),
    help="For `accuracy`: train each preset with each seed, and `reference` with the first. "
    "[default: 0,1,2]",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    metavar="N",
    help="For `accuracy`: the length of each training.",
)
@click.option("--json", "json_output", is_flag=True, help="Print one JSON object.")
def bench(name: str, data_source: str | None, json_output: bool, **only_some: Any) -> None:
    """Measures, and exits with 1 if a target was missed."""
    imports.silence()
    measure = importlib.import_module(f"benchmarks.{name}").main
    given = {"data": data_source, **only_some}
    options = {option: value for option, value in given.items() if value}
    for option in options.keys() - inspect.signature(measure).parameters.keys():
        raise click.UsageError(f"The benchmark {name} takes no --{option}.")
    sys.exit(measure(json_output, **options))
