"""`cifar config`: every field that can be set."""

import json
from typing import Any

import click

from cli.command_help import (
    examples,
    preset_option,
    settings_option,
    trainer_module_option,
)
from pipeline_def.config import (
    PipelineConfig,
    apply_settings,
    default_of,
    fields_of,
    find_preset,
    value_of,
)


@click.command(
    epilog=examples(
        "cifar config",
        "cifar config --preset best --set train_steps=20_000",
        "cifar config --trainer-module my_team.flowers",
    )
)
@preset_option("The preset whose values to show.")
@trainer_module_option
@settings_option
@click.option("--json", "json_output", is_flag=True, help="Print JSON.")
def config(
    preset: str, trainer_module: str, settings: tuple[str, ...], json_output: bool
) -> None:
    """Show every setting with its value, default, range and meaning."""
    try:
        chosen = apply_settings(find_preset(preset, trainer_module), settings)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    fields = facts_of(chosen)
    if json_output:
        click.echo(json.dumps(fields, indent=2))
        return
    from contract import terminal

    width = terminal.width()
    columns = [
        terminal.Column("field"),
        terminal.Column("value"),
        terminal.Column("default", rank=1),
        terminal.Column("range", rank=2),
    ]
    rows = [
        (name, str(fact["value"]), str(fact["default"]), fact["range"])
        for name, fact in fields.items()
    ]
    header, *lines = terminal.table_lines(columns, rows, width)
    terminal.say(f"Preset {chosen.preset} of {chosen.trainer_module}", "", header)
    shown_below = ("meaning",) if "range" in header else ("range", "meaning")
    for line, fact in zip(lines, fields.values(), strict=True):
        click.echo(line)
        if words := ": ".join(filter(None, (fact[name] for name in shown_below))):
            click.echo(terminal.wrap(f"    {words}", width, indent=4))


def facts_of(config: PipelineConfig) -> dict[str, dict[str, Any]]:
    """Returns value, default, range and meaning of each field, by name."""
    return {
        name: {
            "value": value_of(config, name),
            "default": default_of(config, name),
            "range": setting.in_words,
            "meaning": setting.help,
        }
        for name, setting in fields_of(config).items()
    }
