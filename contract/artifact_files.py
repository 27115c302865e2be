"""Opens the small files in artifacts: local ones without TensorFlow, which takes seconds."""

import contextlib
from pathlib import Path
from typing import IO, Any


def open_text(path: str, mode: str = "r") -> contextlib.AbstractContextManager[IO[str]]:
    """Returns a text file.

    Args:
        path: On this machine, or an address that TensorFlow can open, such as gs://….
        mode: `r` or `w`.

    Raises:
        OSError: A local file cannot be opened. TensorFlow raises its own errors.
    """
    if "://" not in path:
        return Path(path).open(mode, encoding="utf-8")
    import tensorflow as tf

    file: Any = tf.io.gfile.GFile(path, mode)
    return file


def exists(path: str) -> bool:
    """Returns whether there is such a file or folder."""
    if "://" not in path:
        return Path(path).exists()
    import tensorflow as tf

    return bool(tf.io.gfile.exists(path))
