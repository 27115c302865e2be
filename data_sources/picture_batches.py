"""Converts pictures to batch files, which later stages read like CIFAR's.

A record contains a label of two bytes and the pixels. A text file beside each batch names the
picture of each record.
"""

import collections
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from contract import records
from contract.features import EVAL_SPLIT, TRAIN_SPLIT
from contract.progress import Progress
from data_sources import picture_file
from data_sources.layouts import PICTURES_FILE, PictureRecord, keys_file
from data_sources.picture_file import PictureError
from data_sources.picture_folder import Picture, Scan

BATCH_BYTES = 64 << 20
SHOWN_PROBLEMS = 200  # a message counts further ones


def convert(
    found: Scan,
    batches_dir: Path,
    image_size: int,
    skip_corrupt: bool,
    progress: Progress,
    shown_as: Path | None = None,
) -> None:
    """Writes the batches of a folder of pictures, and their description.

    Args:
        found: The content of the folder.
        batches_dir: The target folder.
        image_size: Height and width of every image.
        skip_corrupt: Whether to skip unusable files.
        progress: Shows the progress.
        shown_as: The folder's name in errors, by default its own.

    Raises:
        ValueError: Files are unusable, or the folder has other faults; the message lists all.
    """
    bad = list(found.bad)
    splits: dict[str, list[str]] = {TRAIN_SPLIT: [], EVAL_SPLIT: []}
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    total = len(found.pictures)
    with progress.bar(f"Converting {total:,} pictures to {image_size}×{image_size}", None):
        for split, names in splits.items():
            pictures = [picture for picture in found.pictures if picture.split == split]
            for batch in _decode(found, pictures, image_size, bad):
                counts.update((split, picture.class_name) for picture, _ in batch)
                names.append(f"{split}_{len(names) + 1:05d}.bin")
                _write(batches_dir / names[-1], batch, found.class_names)
    faults = [*found.faults, *_emptied(found, counts)]
    if faults or (bad and not skip_corrupt):
        shown = [] if skip_corrupt else bad
        raise ValueError(_in_words(shown_as or found.folder, faults, shown))
    record = PictureRecord(
        class_names=found.class_names,
        image_size=image_size,
        splits={split: tuple(names) for split, names in splits.items()},
        checksums=found.checksums,
        skipped=dict(collections.Counter(kind for _, kind, _ in bad)),
    )
    (batches_dir / PICTURES_FILE).write_text(records.to_json(record))


def _decode(
    found: Scan, pictures: Sequence[Picture], image_size: int, bad: list[tuple[str, str, str]]
) -> Iterator[list[tuple[Picture, np.ndarray]]]:
    """Yields pictures with their pixels, batch by batch; adds unusable ones to `bad`."""
    size = max(1, BATCH_BYTES // (image_size * image_size * 3))

    def decode(picture: Picture) -> np.ndarray | PictureError:
        try:
            content = (found.folder / picture.path).read_bytes()
            return picture_file.decode(content, image_size)
        except PictureError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(pictures), size):
            some = pictures[start : start + size]
            batch = []
            for picture, result in zip(some, pool.map(decode, some), strict=True):
                if isinstance(result, PictureError):
                    bad.append((picture.path, result.kind, str(result)))
                else:
                    batch.append((picture, result))
            if batch:
                yield batch


def _write(
    path: Path, batch: Sequence[tuple[Picture, np.ndarray]], class_names: Sequence[str]
) -> None:
    """Writes one batch file, and a file with the paths of its pictures."""
    labels = {name: label for label, name in enumerate(class_names)}
    image_size = batch[0][1].shape[0]
    rows = np.empty((len(batch), 2 + 3 * image_size * image_size), np.uint8)
    column = np.array([labels[picture.class_name] for picture, _ in batch], "<u2")
    rows[:, :2] = column.view(np.uint8).reshape(-1, 2)
    for row, (_, pixels) in zip(rows, batch, strict=True):
        row[2:] = pixels.transpose(2, 0, 1).reshape(-1)
    rows.tofile(path)
    keys = "".join(f"{picture.path}\n" for picture, _ in batch)
    path.with_name(keys_file(path.name)).write_text(keys)


def _emptied(found: Scan, counts: collections.Counter[tuple[str, str]]) -> list[str]:
    """Returns a fault for each class that has lost all its pictures."""
    there = {(picture.split, picture.class_name) for picture in found.pictures}
    return [
        f"no picture of class {name} in {split} can be used"
        for split, name in sorted(there - counts.keys())
        if split == TRAIN_SPLIT or (found.folder / TRAIN_SPLIT).is_dir()
    ]


def _in_words(folder: Path, faults: Sequence[str], bad: Sequence[tuple[str, str, str]]) -> str:
    """Returns all faults of a folder of pictures, and what to do."""
    lines = [*faults, *(f"{path} {what}" for path, _, what in bad)]
    shown = lines[:SHOWN_PROBLEMS]
    if len(lines) > len(shown):
        kinds = collections.Counter(kind for _, kind, _ in bad).items()
        rest = ", ".join(f"{count:,} {kind}" for kind, count in kinds)
        shown.append(f"and {len(lines) - len(shown):,} more; files by reason: {rest}")
    hint = (
        "Repair or remove the files, or skip them with `--set skip_corrupt=true`."
        if bad
        else "Put pictures into train/<class>/ and eval/<class>/, or only into <class>/."
    )
    return f"{folder} cannot be used as it is:\n  " + "\n  ".join(shown) + f"\n{hint}"
