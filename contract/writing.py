"""Writes files atomically."""

import os
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
