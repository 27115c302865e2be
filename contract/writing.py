"""Writes files atomically, and links them."""

import os
import shutil
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Writes a file by one rename, flushed before and after: a power cut leaves no half file.

    Raises:
        OSError: The folder cannot be written; an existing file is unchanged.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def link_or_copy(source: Path, target: Path) -> None:
    """Makes a file appear in a second place: as a hard link, or where none works as a copy.

    Neither may be changed in place afterwards.

    Raises:
        OSError: The source cannot be read, or the target exists or cannot be written.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        shutil.copyfile(source, target)
