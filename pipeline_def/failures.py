"""Explains the errors of stages, with what to do about them."""

import errno
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

# The messages of the C library, TensorFlow and SQLite; the last two give no error number.
_FULL = re.compile(
    "no space left on device|disk quota exceeded|database or disk is full", re.IGNORECASE
)
_FULL_PATH = re.compile(r"(/[^\s;:'\"]+)['\"]?; No space left on device")
_ALMOST_NOTHING = 1 << 20  # bytes; SQLite and TensorFlow do not always say why they fail


def explain(error: Exception, stage: str, output: Path) -> Exception:
    """Returns an error that says what to do about a full disk; other errors unchanged."""
    chain = list(_chain(error))
    is_full = any(
        getattr(one, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or _FULL.search(str(one))
        for one in chain
    )
    free = shutil.disk_usage(output).free
    if not is_full and free >= _ALMOST_NOTHING:
        return error
    path = next(filter(None, map(_path, chain)), str(output))
    return OSError(
        f"No space left on device: {stage} was writing {path} (now "
        f"{free / 1e6:,.1f} MB are free). Existing versions are intact and still served. "
        "Free some space and run the same command again to continue."
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _path(error: BaseException) -> str | None:
    """Returns the file that, according to an error, could not be written for lack of space."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        name = error.filename2 or error.filename
        return str(name) if name else None
    found = _FULL_PATH.search(str(error))
    return found[1] if found else None
