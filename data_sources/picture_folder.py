"""What pictures a folder holds: their class, their split, and what is wrong with it.

DIR/train/<class>/… with DIR/eval/, DIR/val/ or DIR/test/; or DIR/<class>/… alone, where the
content of a picture decides its split, so that it never changes sides.
"""

import collections
import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from contract.features import EVAL_SPLIT, TRAIN_SPLIT
from contract.image_set import MAX_CLASSES, MIN_CLASSES
from contract.progress import Progress
from data_sources.picture_file import MAX_FILE_BYTES

EVAL_FOLDERS = ("eval", "val", "test")  # the first one that is there
EVAL_PARTS = 10  # without a folder for eval, one picture of so many is drawn for it
READERS = 2 * (os.cpu_count() or 1)

_NO_DATA = {"thumbs.db", "desktop.ini", "__macosx"}  # what operating systems leave behind


@dataclasses.dataclass(frozen=True)
class Picture:
    """A file of a class. `path` is below the folder; `digest` its SHA-256 in hexadecimal."""

    path: str
    class_name: str
    split: str
    digest: str = ""


@dataclasses.dataclass
class Scan:
    """What was found in a folder.

    Attributes:
        folder: Has the classes, or the folders of the splits.
        pictures: The usable files, by digest.
        bad: Each file that cannot be used: its path, the kind of reason, and what was found.
        faults: What is wrong with the folder itself.
        notes: What the user should know.
    """

    folder: Path
    pictures: list[Picture] = dataclasses.field(default_factory=list)
    bad: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)
    faults: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Returns the classes, sorted by name: their labels are their places."""
        return tuple(sorted({picture.class_name for picture in self.pictures}))

    @property
    def checksums(self) -> dict[str, str]:
        """Returns one SHA-256 for each split, over the paths and contents of its pictures."""
        sums = {}
        for split in (TRAIN_SPLIT, EVAL_SPLIT):
            digest = hashlib.sha256()
            for picture in self.pictures:
                if picture.split == split:
                    digest.update(f"{picture.digest}  {picture.path}\n".encode())
            for path, _, found in self.bad:
                digest.update(f"bad {path} {found}\n".encode())
            sums[split] = digest.hexdigest()
        return sums


def root_of(folder: Path) -> Path:
    """Returns the folder that holds classes or splits: where there is a choice of folders."""
    while len(inside := list(_entries(folder))) == 1 and Path(inside[0]).is_dir():
        folder = Path(inside[0])
    return folder


def holds_classes(folder: Path) -> bool:
    """Returns whether a folder has folders with something in them."""
    return any(entry.is_dir() and any(_entries(entry.path)) for entry in _entries(folder))


def scan(folder: Path, progress: Progress) -> Scan:
    """Returns what a folder holds, every file read once for its digest."""
    found = Scan(root_of(folder))
    waiting = list(_find(found))
    sizes = [(found.folder / picture.path).stat().st_size for picture in waiting]
    with (
        progress.bar(f"Reading {len(waiting):,} files of {folder}", sum(sizes)) as update,
        ThreadPoolExecutor(READERS) as pool,
    ):
        done = 0
        digests = pool.map(lambda p: _digest(found.folder / p.path), waiting)
        for picture, size, digest in zip(waiting, sizes, digests, strict=True):
            done += size
            update(done)
            if size > MAX_FILE_BYTES:
                reason = f"has {size:,} bytes, at most {MAX_FILE_BYTES:,} are read"
                found.bad.append((picture.path, "too large", reason))
                continue
            split = picture.split or _drawn(digest)
            found.pictures.append(dataclasses.replace(picture, split=split, digest=digest))
    # Mixed, and always in the same order: whoever reads a part sees every class.
    found.pictures.sort(key=lambda picture: (picture.digest, picture.path))
    _check_classes(found)
    return found


def _entries(folder: str | Path) -> Iterator[os.DirEntry]:
    """Yields what is in a folder, sorted by name, without what is hidden."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if not entry.name.startswith(".") and entry.name.lower() not in _NO_DATA:
            yield entry


def _find(found: Scan) -> Iterator[Picture]:
    folders = {entry.name: entry.path for entry in _entries(found.folder) if entry.is_dir()}
    if TRAIN_SPLIT not in folders:
        yield from _find_classes(found, found.folder, "")
        return
    held = [name for name in EVAL_FOLDERS if name in folders]
    if not held:
        found.faults.append(
            f"there is {TRAIN_SPLIT}/, and none of {', '.join(f'{n}/' for n in EVAL_FOLDERS)}"
        )
    for name in sorted(folders.keys() - {TRAIN_SPLIT, *EVAL_FOLDERS}):
        found.faults.append(f"{name}/ is beside {TRAIN_SPLIT}/ and neither train nor eval")
    if len(held) > 1:
        unused = " and ".join(f"{name}/" for name in held[1:])
        found.notes.append(f"{held[0]}/ judges the model; {unused} is not used")
    for name, split in ((TRAIN_SPLIT, TRAIN_SPLIT), *((name, EVAL_SPLIT) for name in held[:1])):
        yield from _find_classes(found, Path(folders[name]), split)


def _find_classes(found: Scan, parent: Path, split: str) -> Iterator[Picture]:
    for entry in _entries(parent):
        if not entry.is_dir():
            continue  # a list, a licence: no picture of a class
        if entry.is_symlink():
            path = os.path.relpath(entry.path, found.folder)
            found.faults.append(f"{path} is a link to a folder; put the folder there")
            continue
        if not _is_text(entry.name):
            found.faults.append(f"the class {entry.name!r} has a name that is no plain text")
            continue
        for path in _files(found, entry.path):
            yield Picture(path, entry.name, split)


def _files(found: Scan, folder: str) -> Iterator[str]:
    """Yields the files below the folder of a class; what leaves the data set is bad."""
    for entry in _entries(folder):
        path = os.path.relpath(entry.path, found.folder)
        if entry.is_dir(follow_symlinks=False):
            yield from _files(found, entry.path)
        elif not _is_text(path):
            found.bad.append((repr(path), "name", "has a name that is no plain text"))
        elif entry.is_symlink() and not _stays(entry.path, found.folder):
            found.bad.append((path, "link", "is a link out of the folder, or to nothing"))
        elif not entry.is_file():
            found.bad.append((path, "no file", "is no file"))
        else:
            yield path


def _stays(link: str, folder: Path) -> bool:
    target = Path(link).resolve()
    return target.is_file() and target.is_relative_to(folder.resolve())


def _is_text(name: str) -> bool:
    return name.isprintable()  # a byte that is no UTF-8 is a surrogate, which is not


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _drawn(digest: str) -> str:
    """Returns the split of a picture, drawn by its content alone."""
    return EVAL_SPLIT if int(digest[:8], 16) % EVAL_PARTS == 0 else TRAIN_SPLIT


def _check_classes(found: Scan) -> None:
    """Adds what is wrong with the classes of a folder."""
    names = found.class_names
    if not MIN_CLASSES <= len(names) <= MAX_CLASSES:
        found.faults.append(
            f"there are {len(names):,} classes with pictures, expected {MIN_CLASSES} to "
            f"{MAX_CLASSES:,} folders"
        )
        return
    by_lower = collections.defaultdict(list)
    for name in names:
        by_lower[name.lower()].append(name)
    for alike in by_lower.values():
        if len(alike) > 1:
            found.faults.append(f"the classes {' and '.join(alike)} differ in case alone")
    in_split = {
        split: {picture.class_name for picture in found.pictures if picture.split == split}
        for split in (TRAIN_SPLIT, EVAL_SPLIT)
    }
    if not in_split[EVAL_SPLIT]:
        found.faults.append(
            "there is no picture for eval: add pictures, or put some into a folder eval/"
        )
    if only_eval := in_split[EVAL_SPLIT] - in_split[TRAIN_SPLIT]:
        found.faults.append(f"{_listed(only_eval)} in eval, and not in train")
    only_train = in_split[TRAIN_SPLIT] - in_split[EVAL_SPLIT]
    if only_train and (found.folder / TRAIN_SPLIT).is_dir():
        found.faults.append(f"{_listed(only_train)} in train, and not in eval")
    elif only_train and in_split[EVAL_SPLIT]:
        found.notes.append(f"no picture was drawn for eval: {_listed(only_train)}")


def _listed(names: Sequence[str] | set[str]) -> str:
    shown = sorted(names)
    words = ", ".join(shown[:20]) + (f" and {len(shown) - 20:,} more" if shown[20:] else "")
    return f"class{'es' if len(shown) > 1 else ''} {words}"
