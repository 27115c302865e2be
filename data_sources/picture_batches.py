"""Converts pictures to batch files, which later stages read like CIFAR's.

A record contains a label of two bytes and the pixels. A text file beside each batch names the
picture of each record.
"""

import collections
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from contract import records
from contract.features import EVAL_SPLIT, TRAIN_SPLIT
from contract.progress import Progress
from contract.writing import link_or_copy
from data_sources import picture_file
from data_sources.batch_files import own_checksums
from data_sources.download import file_digest
from data_sources.layouts import PICTURES_FILE, PictureGroup, PictureRecord, keys_path
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
    earlier: Sequence[Path] = (),
) -> None:
    """Writes the batches of a folder of pictures, and their description.

    Args:
        found: The content of the folder.
        batches_dir: The target folder.
        image_size: Height and width of every image.
        skip_corrupt: Whether to skip unusable files.
        progress: Shows the progress.
        shown_as: The folder's name in errors, by default its own.
        earlier: Folders that were converted before; what did not change is linked from there.

    Raises:
        ValueError: Files are unusable, or the folder has other faults; the message lists all.
    """
    wanted = PictureRecord(found.class_names, image_size, {}, found.checksums, {})
    bad = list(found.bad)
    splits: dict[str, list[str]] = {TRAIN_SPLIT: [], EVAL_SPLIT: []}
    groups = _link_groups(wanted, earlier, batches_dir, skip_corrupt)
    waiting = {name: some for name, some in found.groups().items() if name not in groups}
    total = sum(map(len, waiting.values()))
    if groups:
        progress.say(f"Converted before and unchanged: {', '.join(groups)}.")
    with progress.bar(f"Converting {total:,} pictures to {image_size}×{image_size}", None):
        for group, pictures in waiting.items():
            groups[group] = _convert_group(found, group, pictures, batches_dir, image_size, bad)
    for group in found.groups():
        splits[group.rpartition("/")[2]] += groups[group].batch_files
    faults = [*found.faults, *_emptied(found, groups)]
    if faults or (bad and not skip_corrupt):
        shown = [] if skip_corrupt else bad
        raise ValueError(_in_words(shown_as or found.folder, faults, shown))
    skipped = collections.Counter(kind for _, kind, _ in found.bad)
    for one in groups.values():
        skipped.update(one.skipped)
    record = dataclasses.replace(
        wanted,
        splits={split: tuple(names) for split, names in splits.items()},
        skipped=dict(skipped),
        groups=groups,
    )
    (batches_dir / PICTURES_FILE).write_text(records.to_json(record))


def _link_groups(
    wanted: PictureRecord, earlier: Sequence[Path], batches_dir: Path, skip_corrupt: bool
) -> dict[str, PictureGroup]:
    """Links the groups that were converted before into `batches_dir`; returns them by name."""
    linked = {}
    for folder in earlier:
        try:
            record = records.from_json(PictureRecord, (folder / PICTURES_FILE).read_bytes())
        except (OSError, ValueError):
            continue  # not of pictures, or damaged
        if (record.class_names, record.image_size) != (wanted.class_names, wanted.image_size):
            continue
        for name, group in record.groups.items():
            is_equal = record.checksums.get(name) == wanted.checksums.get(name)
            is_right = is_equal and (skip_corrupt or not group.skipped)
            if name not in linked and is_right and _link(group, folder, batches_dir):
                linked[name] = group
    return linked


def _link(group: PictureGroup, folder: Path, batches_dir: Path) -> bool:
    """Links the files of a group; returns False, and links none, if any has changed since."""
    sums = own_checksums(folder)
    names = [file for batch in group.batch_files for file in (batch, keys_path(batch))]
    try:
        for name in names:
            (batches_dir / name).parent.mkdir(exist_ok=True)
            link_or_copy(folder / name, batches_dir / name)
            if file_digest(batches_dir / name, "sha256").hex() != sums.get(name):
                raise FileNotFoundError(f"{name} is not the file that was converted")
    except OSError:
        for name in names:
            (batches_dir / name).unlink(missing_ok=True)
        return False
    return True


def _convert_group(
    found: Scan,
    group: str,
    pictures: Sequence[Picture],
    batches_dir: Path,
    image_size: int,
    bad: list[tuple[str, str, str]],
) -> PictureGroup:
    """Writes the batches of a group of pictures; adds unusable ones to `bad`."""
    names: list[str] = []
    counts: collections.Counter[str] = collections.Counter()
    before = len(bad)
    for batch in _decode(found, pictures, image_size, bad):
        counts.update(picture.class_name for picture, _ in batch)
        names.append(f"{group}_{len(names) + 1:05d}.bin")
        path = batches_dir / names[-1]
        path.parent.mkdir(exist_ok=True)
        _write(path, batch, found.class_names)
    skipped = collections.Counter(kind for _, kind, _ in bad[before:])
    return PictureGroup(tuple(names), dict(counts), dict(skipped))


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
    Path(keys_path(str(path))).write_text(keys)


def _emptied(found: Scan, groups: Mapping[str, PictureGroup]) -> list[str]:
    """Returns a fault for each class that has lost all its pictures."""
    there = {(picture.split, picture.class_name) for picture in found.pictures}
    left = {
        (group.rpartition("/")[2], name) for group, one in groups.items() for name in one.images
    }
    return [
        f"no picture of class {name} in {split} can be used"
        for split, name in sorted(there - left)
        if split == TRAIN_SPLIT or found.has_splits
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
