"""Finds the pictures in a folder, with their class and split, and its faults.

The layout is DIR/train/<class>/… with DIR/eval/, DIR/val/ or DIR/test/, or only DIR/<class>/….
In the latter case, the content of a picture decides its split, so that it never changes sides.
There may also be spans, DIR/span-<n>/, each in either layout and with one split or both.
"""

import collections
import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from contract.features import EVAL_SPLIT, TRAIN_SPLIT
from contract.image_set import MAX_CLASSES, MIN_CLASSES
from contract.progress import Progress
from data_sources import picture_file, spans
from data_sources.picture_file import MAX_FILE_BYTES

EVAL_FOLDERS = ("eval", "val", "test")  # the first one that exists
EVAL_PARTS = 10  # without a folder for eval, one picture in this many is drawn for it
READERS = 2 * (os.cpu_count() or 1)

_NO_DATA = {"thumbs.db", "desktop.ini", "__macosx"}  # what operating systems leave behind


@dataclasses.dataclass(frozen=True)
class Picture:
    """A file of a class.

    Attributes:
        path: Below the data folder.
        split: The split it belongs to; empty if its content decides.
        digest: Its SHA-256 in hexadecimal.
        span: The folder of its span; empty for span 0.
    """

    path: str
    class_name: str
    split: str
    digest: str = ""
    span: str = spans.OWN

    @property
    def group(self) -> str:
        """Returns the pictures it is converted and counted with: a split, of a span."""
        return f"{self.span}/{self.split}" if self.span else self.split


@dataclasses.dataclass
class Scan:
    """The content of a folder.

    Attributes:
        folder: Contains the classes, or the folders of the splits.
        pictures: The usable files, by digest.
        bad: Each unusable file: its path, the kind of reason, and what was found.
        faults: Faults of the folder itself.
        notes: Remarks for the user.
        span_names: The folders of the spans, in order; only the data folder if there are none.
        has_splits: Whether a folder says of its pictures that they are for training.
    """

    folder: Path
    pictures: list[Picture] = dataclasses.field(default_factory=list)
    bad: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)
    faults: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    span_names: list[str] = dataclasses.field(default_factory=lambda: [spans.OWN])
    has_splits: bool = False

    @property
    def class_names(self) -> tuple[str, ...]:
        """Returns the classes, sorted by name; their indices are the labels."""
        return tuple(sorted({picture.class_name for picture in self.pictures}))

    def groups(self) -> dict[str, list[Picture]]:
        """Returns the pictures of each split, or each split of a span; all train groups first.

        Without spans, there is a group for each split even if it is empty.
        """
        found: dict[str, list[Picture]] = {}
        if self.span_names == [spans.OWN]:
            found = {TRAIN_SPLIT: [], EVAL_SPLIT: []}
        order = {span: number for number, span in enumerate(self.span_names)}
        is_eval = {TRAIN_SPLIT: False, EVAL_SPLIT: True}
        for picture in sorted(self.pictures, key=lambda p: (is_eval[p.split], order[p.span])):
            found.setdefault(picture.group, []).append(picture)
        return found

    @property
    def checksums(self) -> dict[str, str]:
        """Returns one SHA-256 for each group, over its pictures and how they are converted."""
        sums = {}
        for group, pictures in self.groups().items():
            span = group.rpartition("/")[0]
            digest = hashlib.sha256(f"conversion {picture_file.CONVERSION}\n".encode())
            for picture in pictures:
                digest.update(f"{picture.digest}  {picture.path}\n".encode())
            for path, _, found in self.bad:
                if not span or path.startswith(f"{span}/"):
                    digest.update(f"bad {path} {found}\n".encode())
            sums[group] = digest.hexdigest()
        return sums


def root_of(folder: Path) -> Path:
    """Returns the folder with classes, splits or spans: the first with more than one entry."""
    while len(inside := list(_entries(folder))) == 1 and Path(inside[0]).is_dir():
        if spans.resembles(inside[0].name):
            break
        folder = Path(inside[0])
    return folder


def holds_classes(folder: Path) -> bool:
    """Returns whether a folder contains non-empty folders."""
    return any(entry.is_dir() and any(_entries(entry.path)) for entry in _entries(folder))


def scan(folder: Path, progress: Progress, selection: str = spans.ALL) -> Scan:
    """Returns the content of a folder, reading every file once for its digest.

    Args:
        folder: Contains classes, splits or spans.
        progress: Shows the progress.
        selection: Which spans to read. If none of them has pictures for eval, those of the
            newest earlier span that has some are added.

    Raises:
        ValueError: The selection selects nothing.
    """
    found = Scan(root_of(folder))
    all_spans = find_spans(found.folder)
    chosen = spans.choose(all_spans or [spans.Span(0)], selection)
    found.span_names = [span.name for span in chosen]
    found.faults += spans.misnamed(found.folder)
    waiting = [picture for span in chosen for picture in _find(found, span.name)]
    _read(found, waiting, progress)
    earlier = [span for span in all_spans if span.number < chosen[0].number]
    while earlier and not any(picture.split == EVAL_SPLIT for picture in found.pictures):
        span = earlier.pop()
        judging = Scan(found.folder)
        _read(judging, list(_find(found, span.name)), progress)
        found.pictures += [one for one in judging.pictures if one.split == EVAL_SPLIT]
        found.bad += judging.bad
        found.faults += judging.faults
        found.span_names.insert(0, span.name)
    # Mixed, but always in the same order, so that every part contains all classes.
    found.pictures.sort(key=lambda picture: (picture.digest, picture.path))
    _check_classes(found)
    return found


def find_spans(folder: Path) -> list[spans.Span]:
    """Returns the spans of a folder, with the folder itself if it has classes or splits."""
    found = spans.find(folder)
    names = {span.name for span in found}
    is_own = any(entry.is_dir() and entry.name not in names for entry in _entries(folder))
    return [spans.Span(0), *found] if found and is_own else found


def _read(found: Scan, waiting: Sequence[Picture], progress: Progress) -> None:
    """Adds pictures to a scan, with their digests."""
    sizes = [(found.folder / picture.path).stat().st_size for picture in waiting]
    with (
        progress.bar(f"Reading {len(waiting):,} files of {found.folder}", sum(sizes)) as update,
        ThreadPoolExecutor(READERS) as pool,
    ):
        done = 0
        digests = pool.map(lambda p: _digest(found.folder / p.path), waiting)
        for picture, size, digest in zip(waiting, sizes, digests, strict=True):
            done += size
            update(done)
            if size > MAX_FILE_BYTES:
                reason = f"has {size:,} bytes, expected at most {MAX_FILE_BYTES:,}"
                found.bad.append((picture.path, "too large", reason))
                continue
            split = picture.split or _drawn(digest)
            found.pictures.append(dataclasses.replace(picture, split=split, digest=digest))


def _entries(folder: str | Path) -> Iterator[os.DirEntry]:
    """Yields the entries of a folder that are not hidden, sorted by name."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if not entry.name.startswith(".") and entry.name.lower() not in _NO_DATA:
            yield entry


def _find(found: Scan, span: str) -> Iterator[Picture]:
    """Yields the pictures of a span, and adds its faults."""
    base = found.folder / span
    folders = {
        entry.name: entry.path
        for entry in _entries(base)
        if entry.is_dir() and not (span == spans.OWN and spans.number_of(entry.name))
    }
    held = [name for name in EVAL_FOLDERS if name in folders]
    is_apart = spans.find(found.folder) != []
    if TRAIN_SPLIT not in folders and not (is_apart and held):
        yield from _find_classes(found, folders, "", span)
        return
    place = f"{span}/" if span else ""
    if not held and not is_apart:
        found.faults.append(
            f"there is {TRAIN_SPLIT}/, but none of {', '.join(f'{n}/' for n in EVAL_FOLDERS)}"
        )
    for name in sorted(folders.keys() - {TRAIN_SPLIT, *EVAL_FOLDERS}):
        found.faults.append(
            f"{place}{name}/ is beside {TRAIN_SPLIT}/ but is neither train nor eval"
        )
    if len(held) > 1:
        unused = " and ".join(f"{name}/" for name in held[1:])
        found.notes.append(f"{place}{held[0]}/ judges the model; {unused} is not used")
    for name, split in ((TRAIN_SPLIT, TRAIN_SPLIT), *((name, EVAL_SPLIT) for name in held[:1])):
        if name in folders:
            found.has_splits |= split == TRAIN_SPLIT
            classes = {entry.name: entry.path for entry in _entries(folders[name])}
            yield from _find_classes(found, classes, split, span)


def _find_classes(
    found: Scan, folders: Mapping[str, str], split: str, span: str
) -> Iterator[Picture]:
    """Yields the pictures in the folders of classes; a file beside them is not data."""
    for name, folder in folders.items():
        path = os.path.relpath(folder, found.folder)
        if not Path(folder).is_dir():
            continue  # such as a list or a licence, not a picture of a class
        if Path(folder).is_symlink():
            found.faults.append(f"{path} is a link to a folder; put the folder there")
            continue
        if not _is_text(name):
            found.faults.append(f"the class name {name!r} is not plain text")
            continue
        for file in _files(found, folder):
            yield Picture(file, name, split, span=span)


def _files(found: Scan, folder: str) -> Iterator[str]:
    """Yields the files below the folder of a class; files outside the data set are bad."""
    for entry in _entries(folder):
        path = os.path.relpath(entry.path, found.folder)
        if entry.is_dir(follow_symlinks=False):
            yield from _files(found, entry.path)
        elif not _is_text(path):
            found.bad.append((repr(path), "name", "has a name that is not plain text"))
        elif entry.is_symlink() and not _stays(entry.path, found.folder):
            found.bad.append((path, "link", "is a link out of the folder, or to nothing"))
        elif not entry.is_file():
            found.bad.append((path, "no file", "is not a file"))
        else:
            yield path


def _stays(link: str, folder: Path) -> bool:
    target = Path(link).resolve()
    return target.is_file() and target.is_relative_to(folder.resolve())


def _is_text(name: str) -> bool:
    return name.isprintable()  # bytes that are not UTF-8 are surrogates, which are not


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _drawn(digest: str) -> str:
    """Returns the split of a picture, which depends only on its content."""
    return EVAL_SPLIT if int(digest[:8], 16) % EVAL_PARTS == 0 else TRAIN_SPLIT


def _check_classes(found: Scan) -> None:
    """Adds the faults of a folder's classes."""
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
            found.faults.append(f"the classes {' and '.join(alike)} differ only in case")
    in_split = {
        split: {picture.class_name for picture in found.pictures if picture.split == split}
        for split in (TRAIN_SPLIT, EVAL_SPLIT)
    }
    if not in_split[EVAL_SPLIT]:
        found.faults.append(
            "there is no picture for eval: add pictures, or put some into a folder eval/"
        )
    if only_eval := in_split[EVAL_SPLIT] - in_split[TRAIN_SPLIT]:
        found.faults.append(f"{_listed(only_eval)} in eval, but not in train")
    only_train = in_split[TRAIN_SPLIT] - in_split[EVAL_SPLIT]
    if only_train and found.has_splits:
        found.faults.append(f"{_listed(only_train)} in train, but not in eval")
    elif only_train and in_split[EVAL_SPLIT]:
        found.notes.append(f"no picture was drawn for eval: {_listed(only_train)}")


def _listed(names: Sequence[str] | set[str]) -> str:
    shown = sorted(names)
    words = ", ".join(shown[:20]) + (f" and {len(shown) - 20:,} more" if shown[20:] else "")
    return f"class{'es' if len(shown) > 1 else ''} {words}"
