"""The input of batch prediction: pictures, CIFAR batches, TFRecord files of tf.Examples.

One worker reads a source from start to end. A source is split into batches, each of which is
one step of the model and one file of results.
"""

import dataclasses
import enum
import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tensorflow.core.example import example_pb2

from contract import example_files, features, signatures
from data_sources import cifar_format
from serving import predict

BATCH_SIZE = 256
CIFAR_RECORDS = 10 * BATCH_SIZE  # per source, so that several workers share a batch file
BATCH_SUFFIX = ".bin"
_FORMATS = (  # the labels are not read
    cifar_format.CIFAR10,
    cifar_format.RecordFormat("CIFAR-100", label_bytes=2, label_index=1, class_names=()),
)
_TFRECORDS = ("*.tfrecord", "*.tfrecord.gz", "*tfrecord-*-of-*")


class Kind(enum.Enum):
    """The kinds of sources, in words."""

    PICTURES = "pictures"
    CIFAR_BATCHES = "CIFAR batches"
    EXAMPLES = "TFRecord files"

    @property
    def signature(self) -> str:
        """Returns the signature that takes the contents of the items."""
        return signatures.IMAGE_FILES if self is Kind.PICTURES else signatures.EXAMPLES


@dataclasses.dataclass(frozen=True)
class Source:
    """Files that one worker reads, and their position among all."""

    index: int
    kind: Kind
    files: tuple[str, ...]
    first: int = 0  # record of a CIFAR batch
    root: str = ""  # the folder of all sources


@dataclasses.dataclass(frozen=True)
class Item:
    """One image: its name and the model's input, or the reason there is none.

    A picture is named by its path, a record by that of its file below the root and its number.
    """

    name: str
    content: bytes = b""
    error: str = ""


def find(path: Path) -> list[Source]:
    """Returns the sources below a path.

    Args:
        path: A picture, a CIFAR batch, a TFRecord file of tf.Examples, or a folder of one of
            these kinds.

    Raises:
        FileNotFoundError: The path does not exist, or contains nothing to predict.
        ValueError: The folder contains several kinds, or a batch is truncated.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    found = {kind: files for kind in Kind if (files := _files(path, kind))}
    if not found:
        raise FileNotFoundError(
            f"{path} has no pictures ({', '.join(predict.SUFFIXES)}), no CIFAR batches "
            f"(*{BATCH_SUFFIX}) and no TFRecord files ({', '.join(_TFRECORDS)})."
        )
    if len(found) > 1:
        counts = ", ".join(f"{len(files)} {kind.value}" for kind, files in found.items())
        raise ValueError(f"{path} has files of several kinds: {counts}. Predict one at a time.")
    ((kind, files),) = found.items()
    root = str(path if path.is_dir() else path.parent)
    return [
        Source(number, kind, names, first, root)
        for number, (names, first) in enumerate(_shares(kind, files))
    ]


def read(source: Source) -> Iterator[list[Item]]:
    """Yields the items of a source in batches, in the order of its files."""
    files = map(Path, source.files)
    if source.kind is Kind.PICTURES:
        items: Iterator[Item] = map(_read_picture, files)
    elif source.kind is Kind.CIFAR_BATCHES:
        items = _read_cifar(next(files), source.first, Path(source.root))
    else:
        items = _read_examples(next(files), Path(source.root))
    while batch := list(itertools.islice(items, BATCH_SIZE)):
        yield batch


def digest(found: Sequence[Source]) -> str:
    """Returns a SHA-256 of the names below the root, sizes and times of all files."""
    sha256 = hashlib.sha256()
    for source in found:
        for name in source.files:
            status = Path(name).stat()
            sha256.update(os.fsencode(os.path.relpath(name, source.root)))
            sha256.update(f"\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return sha256.hexdigest()


def _files(path: Path, kind: Kind) -> list[Path]:
    """Returns the files of one kind, sorted; a path that is a file may be the only one."""
    patterns: Iterable[str] = {
        Kind.PICTURES: [f"*{suffix}" for suffix in predict.SUFFIXES],
        Kind.CIFAR_BATCHES: [f"*{BATCH_SUFFIX}"],
        Kind.EXAMPLES: _TFRECORDS,
    }[kind]
    candidates = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    return [
        file
        for file in candidates
        if any(Path(file.name.lower()).match(pattern) for pattern in patterns)
    ]


def _shares(kind: Kind, files: Sequence[Path]) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yields the files of each source, and its first record in a CIFAR batch."""
    if kind is Kind.PICTURES:
        for start in range(0, len(files), BATCH_SIZE):
            yield tuple(map(str, files[start : start + BATCH_SIZE])), 0
        return
    for file in files:
        records = 1
        if kind is Kind.CIFAR_BATCHES:
            records = file.stat().st_size // _record_format(file).record_bytes
        for first in range(0, records, CIFAR_RECORDS):
            yield (str(file),), first


def _read_picture(file: Path) -> Item:
    try:
        prepared = predict.prepare(str(file), file.read_bytes())
    except OSError as error:
        return Item(str(file), error=str(error.strerror))
    if isinstance(prepared, predict.Answer):
        return Item(str(file), error=prepared.error)
    return Item(str(file), prepared)


def _read_cifar(file: Path, first: int, root: Path) -> Iterator[Item]:
    record_format = _record_format(file)
    with file.open("rb") as stream:
        stream.seek(first * record_format.record_bytes)
        content = stream.read(CIFAR_RECORDS * record_format.record_bytes)
    records = cifar_format.records_of(content, record_format)
    images = cifar_format.images_of(records, record_format)
    for number, image in enumerate(images, start=first):
        example = example_pb2.Example()
        example.features.feature[features.IMAGE].bytes_list.value.append(image.tobytes())
        yield Item(f"{file.relative_to(root)}:{number}", example.SerializeToString())


def _record_format(file: Path) -> cifar_format.RecordFormat:
    """Returns the layout of a file, from its size."""
    size = file.stat().st_size
    for record_format in _FORMATS:
        if size and size % record_format.record_bytes == 0:
            return record_format
    sizes = sorted(record_format.record_bytes for record_format in _FORMATS)
    raise ValueError(
        f"{file} has {size:,} bytes, which is not a whole number of CIFAR records of "
        f"{' or '.join(map(str, sizes))} bytes. It is truncated or not a CIFAR batch."
    )


def _read_examples(file: Path, root: Path) -> Iterator[Item]:
    records = example_files.read([str(file)]).as_numpy_iterator()
    for number, serialized in enumerate(records):
        yield Item(f"{file.relative_to(root)}:{number}", serialized)
