"""Where batches are assembled out of sight, by one process at a time, and put in place."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from contract.progress import Progress


@contextmanager
def sole_writer(data_dir: Path, progress: Progress) -> Iterator[Path]:
    """Yields the work folder of `data_dir`, with an empty `batches` in it, to one process.

    Others wait. Downloads in it outlive a failure; `batches` does not.
    """
    # Renames stay on one file system: beside the folder, but inside a mounted volume.
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
    """Puts verified batches in place: a new folder by one rename, else file by file.

    A reader sees each file as it was or as it should be, never half of it. A wrong file
    is kept as NAME.replaced, as it may be someone's own data.

    Args:
        batches_dir: Holds the six verified files.
        data_dir: Gets them; others in it are left alone.
        names: The files of `data_dir` that are missing or wrong.
        progress: Is told what was replaced.
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
