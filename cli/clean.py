"""`cifar clean`. Heavy modules wait until it runs."""

from pathlib import Path

import click

from cli.command_help import examples, metadata_url_option
from cli.runs import DEFAULTS, output_option


@click.command(epilog=examples("cifar clean --dry-run", "cifar clean --keep-runs 3"))
@click.option(
    "--keep-runs",
    type=click.IntRange(min=1),
    default=DEFAULTS.keep_runs,
    show_default=True,
    metavar="N",
    help="How many of the newest runs to keep completely.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be deleted, and delete nothing.")
@output_option
@metadata_url_option
def clean(keep_runs: int, dry_run: bool, output: Path, metadata_url: str) -> None:
    """Delete artifacts, checkpoints and logs that no kept run needs.

    The newest N runs stay complete, as do runs whose version is served or pinned. Of all other
    runs only the record stays. The lineage of every version stays. Each run also cleans up when
    it ends (keep_runs).
    """
    from contract import terminal
    from pipeline_def import local_runner, retention

    if not output.is_dir():
        raise FileNotFoundError(f"{output} does not exist. --output says where to look.")
    with local_runner.sole_run(output):
        plan, size = retention.clean(output, keep_runs, metadata_url, dry_run)
    terminal.say(retention.in_words(plan, size, dry_run))
