"""What a person is told when training or exporting cannot write its files."""

import contextlib
import errno
import shutil
from collections.abc import Iterator

import tensorflow as tf


class DiskFullError(OSError):
    """A disk or a quota is full."""


@contextlib.contextmanager
def full_disk_explained(
    directory: str,
    writing: str = "checkpoints and summaries",
    kept: str = "Training goes on from the last whole checkpoint.",
) -> Iterator[None]:
    """Says what was being written where, and what is safe, when the disk is full.

    Raises:
        DiskFullError: The disk was full.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        if not is_disk_full(error):
            raise
        raise DiskFullError(
            f"No space left on the device while writing {writing} to {directory}"
            f"{_free_space(directory)}. Free some, or choose another folder with --output, "
            f"and run again. {kept} Versions pushed before are untouched."
        ) from error


@contextlib.contextmanager
def failed_export_explained(export_dir: str, checkpoint_dir: str) -> Iterator[None]:
    """Says that the training is safe when its export fails.

    Raises:
        DiskFullError: The disk was full.
        RuntimeError: The export failed for another reason.
    """
    kept = (
        f"The training is finished and kept in {checkpoint_dir}: only its export is repeated."
    )
    try:
        with full_disk_explained(export_dir, "the exported model", kept):
            yield
    except DiskFullError:
        raise
    except Exception as error:
        raise RuntimeError(
            f"The model could not be exported to {export_dir}: {str(error).splitlines()[0]} "
            f"Mend that and run again. {kept} Versions pushed before are untouched."
        ) from error


def is_disk_full(error: BaseException) -> bool:
    """Returns whether an error of Python or TensorFlow says that a disk or a quota is full."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, tf.errors.ResourceExhaustedError) and (
        "No space left" in error.message or "quota" in error.message
    )


def _free_space(directory: str) -> str:
    """Returns the free space of a folder's disk in words; empty if it cannot be said."""
    try:
        usage = shutil.disk_usage(directory)
    except OSError:
        return ""
    return f" ({usage.free / 1e6:,.0f} MB of {usage.total / 1e6:,.0f} MB are free)"
