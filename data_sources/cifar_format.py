"""The CIFAR binary layout: turns the bytes of a batch file into images and labels.

A batch is a sequence of records without a header. A record contains label bytes, then all red
values of an image, all green and all blue ones, each plane row by row.
Source: https://www.cs.toronto.edu/~kriz/cifar.html
"""

import dataclasses
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from contract.features import CHANNELS
from contract.image_set import ImageSet


@dataclasses.dataclass(frozen=True)
class RecordFormat:
    """The layout of one record, and the meaning of its labels."""

    name: str
    label_bytes: int  # label bytes ahead of the pixels
    label_index: int  # position among them of the label to learn
    class_names: tuple[str, ...]  # in the order of the labels
    image_size: int = 32  # lines and columns of an image
    label_dtype: str = "u1"  # of the label to learn

    @property
    def image_set(self) -> ImageSet:
        """Returns the classes and the size of the images."""
        return ImageSet(self.class_names, self.image_size)

    @property
    def num_classes(self) -> int:
        """Returns the number of classes."""
        return len(self.class_names)

    @property
    def image_bytes(self) -> int:
        """Returns the size of the pixels of one record."""
        return self.image_size * self.image_size * CHANNELS

    @property
    def record_bytes(self) -> int:
        """Returns the size of one record, including its label bytes."""
        return self.label_bytes + self.image_bytes

    def labels_of(self, records: np.ndarray) -> np.ndarray:
        """Returns the label of each record.

        Args:
            records: uint8, shape (n, record_bytes).

        Returns:
            Of dtype `label_dtype`, shape (n,).
        """
        width = np.dtype(self.label_dtype).itemsize
        columns = records[:, self.label_index : self.label_index + width]
        return np.ascontiguousarray(columns).view(self.label_dtype)[:, 0]


# Source: batches.meta.txt of the archive, in label order.
CIFAR10 = RecordFormat(
    "cifar10",
    label_bytes=1,
    label_index=0,
    class_names=(
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
)

TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
EVAL_FILES = ("test_batch.bin",)
BATCH_FILES = TRAIN_FILES + EVAL_FILES

# Official batches have 31 MB, CIFAR-100's largest 154 MB; more data comes in more batches.
MAX_BATCH_BYTES = 1 << 30
PIECE_RECORDS = 2_000  # are read at once


def decode_records(
    content: bytes,
    record_format: RecordFormat = CIFAR10,
    source: str = "the batch",
    first: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images and labels of consecutive records.

    Args:
        content: A batch file, or a piece of one.
        record_format: The layout of one record.
        source: The file's name, for the errors.
        first: The number of the first record in the file.

    Returns:
        images: uint8, shape (n, height, width, 3): record, height, width, RGB.
        labels: unsigned, shape (n,), below `record_format.num_classes`.

    Raises:
        ValueError: The content is empty, has an incomplete record, or contains a label that
            is not a class.
    """
    check_length(len(content), record_format, source)
    records = records_of(content, record_format)
    labels = record_format.labels_of(records)
    check_labels(labels, record_format, source, first)
    return images_of(records, record_format), labels


def records_of(content: bytes, record_format: RecordFormat) -> np.ndarray:
    """Returns whole records: uint8, shape (n, record_bytes)."""
    return np.frombuffer(content, np.uint8).reshape(-1, record_format.record_bytes)


def images_of(records: np.ndarray, record_format: RecordFormat) -> np.ndarray:
    """Returns the images of records: uint8, shape (n, height, width, 3), RGB.

    Args:
        records: uint8, shape (n, record_bytes).
        record_format: The layout of one of them.
    """
    size = record_format.image_size
    planes = records[:, record_format.label_bytes :].reshape(-1, CHANNELS, size * size)
    # Copies whole planes, a third of the time of a transposition pixel by pixel.
    pixels = np.stack([planes[:, channel] for channel in range(CHANNELS)], axis=-1)
    return pixels.reshape(-1, size, size, CHANNELS)


def read_pieces(
    file: BinaryIO, record_format: RecordFormat, records: range
) -> Iterator[tuple[int, bytes]]:
    """Yields the number of a first record, and the content from it on: piece after piece.

    Args:
        file: A batch file. Its position changes.
        record_format: The layout of one record.
        records: Which records, without gaps.

    Raises:
        ValueError: The file ends before the last of them.
    """
    file.seek(records.start * record_format.record_bytes)
    for first in records[::PIECE_RECORDS]:
        size = len(range(first, records.stop)[:PIECE_RECORDS]) * record_format.record_bytes
        content = file.read(size)
        if len(content) < size:
            raise ValueError(
                f"The batch ended while it was read, within {size:,} bytes from record "
                f"{first:,} on. Batches must not change during a run; run again."
            )
        yield first, content


def check_length(size_bytes: int, record_format: RecordFormat, source: str) -> None:
    """Raises ValueError unless the size is a whole number of records, and not a mistake."""
    record_bytes = record_format.record_bytes
    if size_bytes > MAX_BATCH_BYTES:
        raise ValueError(
            f"{source} has {size_bytes:,} bytes; a batch may have at most {MAX_BATCH_BYTES:,} "
            f"({MAX_BATCH_BYTES // record_bytes:,} images). If it is a {record_format.name} "
            "batch, split it into several; `cifar data fetch` gets the official ones."
        )
    if size_bytes == 0:
        raise ValueError(
            f"{source} is empty; a {record_format.name} batch contains records of "
            f"{record_bytes:,} bytes. Delete it and run `cifar data fetch`."
        )
    whole, rest = divmod(size_bytes, record_bytes)
    if rest:
        raise ValueError(
            f"{source} has {size_bytes:,} bytes: {whole:,} {record_format.name} records of "
            f"{record_bytes:,} bytes and {rest:,} bytes more, from offset "
            f"{whole * record_bytes:,} on. It is truncated, has additional bytes or is not a "
            "batch file; `cifar data fetch` gets an intact one."
        )


def check_labels(
    labels: np.ndarray, record_format: RecordFormat, source: str, first: int = 0
) -> None:
    """Raises ValueError at the first label outside the format's classes.

    Args:
        labels: Of consecutive records.
        record_format: The layout of one record.
        source: The file's name, for the errors.
        first: The number of the first record.
    """
    wrong = np.flatnonzero(labels >= record_format.num_classes)
    if wrong.size:
        record = first + int(wrong[0])
        offset = record * record_format.record_bytes + record_format.label_index
        raise ValueError(
            f"{source}, record {record:,} (offset {offset:,}): label {labels[wrong[0]]}, "
            f"expected 0 to {record_format.num_classes - 1}; {wrong.size:,} of "
            f"{labels.size:,} labels are outside. The file is damaged or not a "
            f"{record_format.name} batch; `cifar data fetch` gets an intact one."
        )
