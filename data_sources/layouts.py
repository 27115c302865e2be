"""The layouts of batch files: recognizes them by the names in a folder."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from contract import records
from contract.data_record import DataRecord
from contract.features import EVAL_SPLIT, TRAIN_SPLIT
from contract.image_set import ImageSet
from data_sources.cifar_format import CIFAR10, EVAL_FILES, TRAIN_FILES, RecordFormat
from data_sources.options import COARSE, FINE
from data_sources.spans import ALL as ALL_SPANS

PICTURES_FILE = "pictures.json"  # beside the batches of converted pictures
CIFAR100_FILES = {TRAIN_SPLIT: ("train.bin",), EVAL_SPLIT: ("test.bin",)}
CIFAR100_LABELS: Mapping[str, tuple[int, str]] = {
    COARSE: (0, "coarse_label_names.txt"),
    FINE: (1, "fine_label_names.txt"),
}
CIFAR100_CLASSES: Mapping[str, int] = {COARSE: 20, FINE: 100}
MAX_NAMES_BYTES = 1 << 20

_BATCH = re.compile(r"data_batch_([1-9]\d*)\.bin")


@dataclasses.dataclass(frozen=True)
class PictureGroup:
    """The converted pictures of a split, or of a split of a span.

    Attributes:
        batch_files: Their batch files, in order.
        images: How many there are, by class.
        skipped: How many could not be decoded, by reason.
    """

    batch_files: tuple[str, ...]
    images: Mapping[str, int]
    skipped: Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class PictureRecord:
    """The description of the batches of converted pictures, kept beside them.

    Attributes:
        checksums: One SHA-256 for each split, or each split of a span, over the paths and
            contents of the pictures, and over how they were converted.
        skipped: How many unusable files were skipped, by reason.
        groups: What each of the checksums covers.
    """

    class_names: tuple[str, ...]
    image_size: int
    splits: dict[str, tuple[str, ...]]
    checksums: dict[str, str]
    skipped: dict[str, int]
    groups: Mapping[str, PictureGroup] = dataclasses.field(default_factory=dict)

    @property
    def batch_files(self) -> list[str]:
        """Returns all batch files."""
        return [name for names in self.splits.values() for name in names]


@dataclasses.dataclass(frozen=True)
class Layout:
    """The batch files of a folder.

    Attributes:
        name: The usual name of the data.
        splits: The batch files of each split, in order.
        other_files: Other files of the data: class names.
        skipped: How many pictures were skipped, by reason.
        checksums: The checksums of converted pictures, if there are any.
        spans: The selected spans, as FROM:TO; `all` if there are no spans.
    """

    name: str
    record_format: RecordFormat
    splits: Mapping[str, tuple[str, ...]]
    other_files: tuple[str, ...] = ()
    skipped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    checksums: Mapping[str, str] = dataclasses.field(default_factory=dict)
    spans: str = ALL_SPANS

    @property
    def has_keys(self) -> bool:
        """Returns whether a file beside each batch names the pictures in it."""
        return bool(self.checksums)

    @property
    def record(self) -> DataRecord:
        """Returns the record to keep beside the examples."""
        return DataRecord(self.name, dict(self.skipped))

    @property
    def image_set(self) -> ImageSet:
        """Returns the classes and the size of the images."""
        return self.record_format.image_set

    @property
    def is_cifar100(self) -> bool:
        """Returns whether each record has two labels to choose from."""
        return self.name.startswith("CIFAR-100")

    def describe(self) -> str:
        """Returns a short description."""
        batches = " and ".join(
            f"{len(names)} {split} batch{'es' if len(names) > 1 else ''}"
            for split, names in self.splits.items()
        )
        of_spans = "" if self.spans == ALL_SPANS else f" (spans {self.spans})"
        return f"{self.name}: {self.record_format.num_classes} classes, {batches}{of_spans}"

    @property
    def batch_files(self) -> tuple[str, ...]:
        """Returns the batch files of all splits, in order."""
        return tuple(name for names in self.splits.values() for name in names)

    @property
    def files(self) -> tuple[str, ...]:
        """Returns every file that belongs to the data."""
        return self.batch_files + self.other_files

    def checksum_name(self, batch_file: str) -> str:
        """Returns the name under which the data's checksums cover a batch file.

        Converted pictures have one checksum for each split of a span, of the pictures.
        """
        return group_of(batch_file) if self.has_keys else batch_file


def find_layout(directory: Path, labels: str = FINE, shown_as: Path | None = None) -> Layout:
    """Returns the layout of the batch files in a folder.

    Args:
        directory: CIFAR-100's files, or CIFAR-10's with any number of further data_batch_N.bin.
        labels: Which of CIFAR-100's labels to learn, `fine` or `coarse`.
        shown_as: The folder's name in errors, by default its own.

    Raises:
        FileNotFoundError: Files are missing; the message names all of them.
        ValueError: A batch file has an unknown name, or the class names are invalid.
    """
    shown_as = shown_as or directory
    layout = likely_layout(directory, labels)
    check_all_there(layout, directory, shown_as)
    if layout.has_keys:
        return layout
    if layout.is_cifar100:
        names_file = CIFAR100_LABELS[labels][1]
        read_names(directory / names_file, shown_as / names_file)
        return layout
    known = set(layout.files)
    strange = [name for name in batch_names(directory) if name not in known]
    if strange:
        raise ValueError(
            f"{shown_as} contains {', '.join(strange)}, which is not a known name: batches are "
            "data_batch_1.bin, data_batch_2.bin and so on, and test_batch.bin. Rename or "
            "remove files that are not batches."
        )
    return layout


def likely_layout(directory: Path, labels: str = FINE) -> Layout:
    """Returns the layout of a folder that may lack files or contain others."""
    if (directory / PICTURES_FILE).is_file():
        return _pictures(directory)
    return cifar100(directory, labels) if is_cifar100(directory) else cifar10(directory)


def holds_batches(directory: Path) -> bool:
    """Returns whether a folder contains some or all batch files of a layout."""
    return is_cifar100(directory) or bool(batch_names(directory))


def batch_names(directory: Path) -> list[str]:
    """Returns the files in a folder whose names resemble CIFAR-10's, sorted."""
    return sorted(path.name for path in directory.glob("*batch*.bin"))


def present(directory: Path) -> dict[str, list[str]]:
    """Returns the batch files of each split that are in a folder, complete or not, in order."""
    if is_cifar100(directory):
        return {
            split: [name for name in names if (directory / name).is_file()]
            for split, names in CIFAR100_FILES.items()
        }
    names = batch_names(directory)
    numbers = sorted(int(match[1]) for name in names if (match := _BATCH.fullmatch(name)))
    return {
        TRAIN_SPLIT: [f"data_batch_{number}.bin" for number in numbers],
        EVAL_SPLIT: [name for name in EVAL_FILES if name in names],
    }


def is_data_file(name: str) -> bool:
    """Returns whether a file with this name belongs to a layout."""
    names = {name for names in CIFAR100_FILES.values() for name in names}
    names |= {name for _, name in CIFAR100_LABELS.values()}
    return name in {*names, *EVAL_FILES} or bool(_BATCH.fullmatch(name))


def is_cifar100(directory: Path) -> bool:
    """Returns whether a folder contains files with CIFAR-100's names."""
    names = (name for names in CIFAR100_FILES.values() for name in names)
    return any((directory / name).is_file() for name in names)


def keys_path(batch_path: str) -> str:
    """Returns the path of the file with the paths of a batch's pictures."""
    return batch_path.removesuffix(".bin") + ".txt"


def group_of(batch_file: str) -> str:
    """Returns the group of the pictures in a batch file: its split, or span and split."""
    return batch_file.rpartition("_")[0]


def _pictures(directory: Path) -> Layout:
    record = records.from_json(PictureRecord, (directory / PICTURES_FILE).read_bytes())
    files = tuple(map(keys_path, record.batch_files))
    return Layout(
        "pictures",
        RecordFormat("pictures", 2, 0, record.class_names, record.image_size, "<u2"),
        record.splits,
        (*files, PICTURES_FILE),
        record.skipped,
        record.checksums,
    )


def cifar10(directory: Path) -> Layout:
    """Returns CIFAR-10's layout, with the folder's number of training batches: 5 or more."""
    numbers = [
        int(match[1])
        for path in directory.glob("*.bin")
        if (match := _BATCH.fullmatch(path.name))
    ]
    last = max([len(TRAIN_FILES), *numbers])
    # A gap in the numbers is a missing batch; a number far beyond the others is a wrong name.
    if last > len(TRAIN_FILES) + len(numbers):
        last = len(TRAIN_FILES)
    train_files = tuple(f"data_batch_{number}.bin" for number in range(1, last + 1))
    splits = {TRAIN_SPLIT: train_files, EVAL_SPLIT: EVAL_FILES}
    return Layout("CIFAR-10", CIFAR10, splits)


def cifar100(directory: Path, labels: str) -> Layout:
    """Returns CIFAR-100's layout; classes without names are named by their numbers."""
    index, names_file = CIFAR100_LABELS[labels]
    try:
        class_names = read_names(directory / names_file, Path(names_file))
    except (OSError, ValueError):
        class_names = tuple(str(label) for label in range(CIFAR100_CLASSES[labels]))
    return Layout(
        f"CIFAR-100 ({labels} labels)",
        RecordFormat(f"cifar100_{labels}", 2, index, class_names),
        CIFAR100_FILES,
        tuple(sorted(name for _, name in CIFAR100_LABELS.values())),
    )


def read_names(path: Path, shown_as: Path) -> tuple[str, ...]:
    """Returns the class names in a file, one per line.

    Raises:
        ValueError: The file is too large or not text, or repeats a name or has too few.
    """
    size_bytes = path.stat().st_size
    if size_bytes > MAX_NAMES_BYTES:
        raise ValueError(
            f"{shown_as} has {size_bytes:,} bytes, expected class names, one per line. "
            "`cifar data fetch cifar100` gets the official ones."
        )
    try:
        lines = path.read_text("utf-8").splitlines()
        names = tuple(line.strip() for line in lines if line.strip())
        return ImageSet(names, CIFAR10.image_size).class_names
    except ValueError as error:  # including UnicodeDecodeError
        raise ValueError(
            f"{shown_as} does not contain class names, one per line: {error} "
            "`cifar data fetch cifar100` gets the official ones."
        ) from error


def check_all_there(layout: Layout, directory: Path, shown_as: Path) -> None:
    """Raises FileNotFoundError that names every missing file."""
    missing = [name for name in layout.files if not (directory / name).is_file()]
    if missing:
        expected = (
            "CIFAR-100 has train.bin, test.bin and the two files with class names; "
            "`cifar data fetch cifar100` gets them."
            if layout.is_cifar100
            else "CIFAR-10 has data_batch_1.bin to data_batch_5.bin and test_batch.bin; `cifar "
            "data fetch` gets them. Pictures belong in train/<class>/ and eval/<class>/, or "
            "only in <class>/."
        )
        raise FileNotFoundError(f"{shown_as} lacks {', '.join(missing)}. {expected}")
