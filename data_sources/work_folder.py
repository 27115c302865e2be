"""A hidden folder where one process at a time assembles batches before it installs them."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from contract.progress import Progress


@contextmanager
def sole_writer(data_dir: Path, progress: Progress) -> Iterator[Path]:
    """Yields the work folder of `data_dir`, with an empty `batches` folder, to one process.

    Other processes wait. After a failure, downloads stay in it, but `batches` does not.
    """
    # Renames need one file system: beside the folder, or inside it if it is a mount point.
    beside = data_dir / data_dir.name if data_dir.is_mount() else data_dir
    work_dir = beside.with_name(f".{data_dir.name}.partial")
    work_dir.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(work_dir.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        progress.say(f"Another process is writing {data_dir}; waiting for it to finish.")
        lock.acquire()
    batches_dir = work_dir / "batches"
    try:
        shutil.rmtree(batches_dir, ignore_errors=True)
        batches_dir.mkdir(parents=True)
        yield work_dir
    finally:
        shutil.rmtree(batches_dir, ignore_errors=True)
        if work_dir.exists() and not any(work_dir.iterdir()):
            work_dir.rmdir()
        lock.release()


def install(
    batches_dir: Path, data_dir: Path, names: Iterable[str], progress: Progress
) -> None:
    """Installs verified batches: a new folder by one rename, otherwise file by file.

    A reader sees each file in its old or new state, never a part of it. A wrong file is kept
    as NAME.replaced, since it may be the user's own data.

    Args:
        batches_dir: Contains the verified files.
        data_dir: The target folder; other files in it stay.
        names: The files of `data_dir` that are missing or wrong.
        progress: Shows what was replaced.
    """
    if not data_dir.exists():
        batches_dir.rename(data_dir)
        return
    for name in names:
        target = data_dir / name
        if target.exists():
            aside = target.with_name(f"{name}.replaced")
            target.replace(aside)
            progress.say(f"The wrong file is kept as {aside}.")
        (batches_dir / name).replace(target)
