"""Frees space on the volume that the steps share: deletes old trainings and searches.

Beam steps that were killed and never started again leave files too, which go after a week.

Artifacts are in Kubeflow's object store, where its own lifecycle rules delete them, and
versions are retired by the Pusher (`keep_versions`). The volume keeps no record of runs, so
what is old is known from the times of files.
"""

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import filelock

from contract.training_folder import search_of, training_of
from kubeflow import beam_step
from pipeline_def import retention
from serving import model_registry

CHECKPOINTS, TUNING = "checkpoints", "tuning"
ABANDONED_SECONDS = 7 * 86_400


@dataclasses.dataclass(frozen=True)
class CleanUp:
    """What a clean-up deleted, or would delete.

    Attributes:
        deleted: The folders of trainings, searches and killed steps.
        size_bytes: Their size.
        in_use: Folders that stay because a step is at work in them.
    """

    deleted: Sequence[Path]
    size_bytes: int
    in_use: Sequence[Path]

    def in_words(self, dry_run: bool) -> str:
        """Returns what was done, on one line."""
        done = "Would delete" if dry_run else "Deleted"
        used = f"; {len(self.in_use)} more are in use" if self.in_use else ""
        return f"{done} {len(self.deleted)} folders, {self.size_bytes / 1e6:,.1f} MB{used}."


def clean(volume: Path, keep: int, dry_run: bool = False) -> CleanUp:
    """Deletes all but the newest trainings and searches, and those of the pushed versions.

    A step that trains holds a lock, so its folder stays. What killed Beam steps left is deleted
    when nobody has written to it for a week.

    Args:
        volume: The folder with `checkpoints`.
        keep: How many of the newest to keep, of trainings and of searches.
        dry_run: Whether to delete nothing.

    Raises:
        FileNotFoundError: Nothing was ever trained there.
        OSError: A file cannot be deleted.
    """
    if not (volume / CHECKPOINTS).is_dir():
        raise FileNotFoundError(
            f"{volume} has no folder {CHECKPOINTS}, so it is not the volume of a pipeline that "
            "has trained."
        )
    pushed = {
        model_registry.read_provenance(file.parents[1]).training_fingerprint
        for file in (volume / "serving").glob(f"*/*/{model_registry.PROVENANCE_FILE}")
    }
    pushed |= set(map(search_of, pushed))
    deleted, in_use, size = [], [], 0
    for kind in (CHECKPOINTS, TUNING):
        folders = [folder for folder in (volume / kind).glob("*") if folder.is_dir()]
        for folder in sorted(folders, key=retention.newest_change)[:-keep]:
            if training_of(folder) in pushed:
                continue
            folder_bytes = retention.bytes_of(folder)
            if _delete(folder, dry_run):
                deleted.append(folder)
                size += folder_bytes
            else:
                in_use.append(folder)
    for folder in (volume / beam_step.FOLDER).glob("*"):
        with contextlib.suppress(FileNotFoundError):  # a step deletes its own
            if time.time() - retention.newest_change(folder) > ABANDONED_SECONDS:
                folder_bytes = retention.bytes_of(folder)
                if not dry_run:
                    shutil.rmtree(folder)
                deleted.append(folder)
                size += folder_bytes
    return CleanUp(deleted, size, in_use)


def lock_of(folder: Path) -> Path:
    """Returns the lock of a whole step, beside that of the Trainer in the folder.

    The step takes it before it knows what a search found, so it is named after the training.
    """
    return folder.with_name(f"{training_of(folder)}.lock")


def _delete(folder: Path, dry_run: bool) -> bool:
    """Deletes a folder and its lock; returns False if a step has locked it."""
    lock_file = lock_of(folder)
    try:
        with filelock.FileLock(lock_file, timeout=0):
            if not dry_run:
                shutil.rmtree(folder)
                # filelock does not take a lock whose file is gone, but makes a new file.
                lock_file.unlink()
    except filelock.Timeout:
        return False
    return True
