"""The CIFAR binary layout: how bytes of a batch file become images and labels.

A batch is a sequence of records without a header. A record is its label bytes, then
1,024 red values, 1,024 green and 1,024 blue, each plane row by row.
Source: https://www.cs.toronto.edu/~kriz/cifar.html
"""

import dataclasses

import numpy as np

from contract.features import CHANNELS, IMAGE_BYTES, IMAGE_SIZE


@dataclasses.dataclass(frozen=True)
class RecordFormat:
    """How one record is laid out, and which labels it may hold."""

    name: str
    label_bytes: int  # label bytes ahead of the pixels
    label_index: int  # which of them is the label we learn
    num_classes: int

    @property
    def record_bytes(self) -> int:
        """Returns the bytes of one record, label bytes included."""
        return self.label_bytes + IMAGE_BYTES


CIFAR10 = RecordFormat("cifar10", label_bytes=1, label_index=0, num_classes=10)
CIFAR100_COARSE = RecordFormat("cifar100_coarse", 2, label_index=0, num_classes=20)
CIFAR100_FINE = RecordFormat("cifar100_fine", 2, label_index=1, num_classes=100)
FORMATS = {format.name: format for format in (CIFAR10, CIFAR100_COARSE, CIFAR100_FINE)}

TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
EVAL_FILES = ("test_batch.bin",)
BATCH_FILES = TRAIN_FILES + EVAL_FILES

# A batch is read and decoded at once, which takes about four times its size in memory. An
# official one has 31 MB, CIFAR-100's largest 154 MB.
MAX_BATCH_BYTES = 1 << 30


def decode_records(
    content: bytes, record_format: RecordFormat = CIFAR10, source: str = "the batch"
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images and labels of a batch file.

    Args:
        content: The whole file.
        record_format: The layout of one record.
        source: The file's name, for the errors.

    Returns:
        images: uint8, shape (n, 32, 32, 3): record, height, width, RGB.
        labels: uint8, shape (n,), below `record_format.num_classes`.

    Raises:
        ValueError: The file is empty, is no whole number of records, or holds a label
            that is no class.
    """
    check_length(len(content), record_format, source)
    records = np.frombuffer(content, np.uint8).reshape(-1, record_format.record_bytes)
    labels = records[:, record_format.label_index]
    check_labels(labels, record_format, source)
    planes = records[:, record_format.label_bytes :]
    planes = planes.reshape(-1, CHANNELS, IMAGE_SIZE, IMAGE_SIZE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels


def check_length(size_bytes: int, record_format: RecordFormat, source: str) -> None:
    """Raises ValueError unless `size_bytes` is a number of whole records that fit in memory."""
    record_bytes = record_format.record_bytes
    if size_bytes > MAX_BATCH_BYTES:
        raise ValueError(
            f"{source} has {size_bytes:,} bytes; a batch has at most {MAX_BATCH_BYTES:,} "
            f"({MAX_BATCH_BYTES // record_bytes:,} images), which is decoded at once. Is it a "
            f"{record_format.name} batch? `cifar data fetch` gets the official ones."
        )
    if size_bytes == 0:
        raise ValueError(
            f"{source} is empty; a {record_format.name} batch holds records of "
            f"{record_bytes:,} bytes. Delete it and run `cifar data fetch`."
        )
    whole, rest = divmod(size_bytes, record_bytes)
    if rest:
        raise ValueError(
            f"{source} has {size_bytes:,} bytes: {whole:,} {record_format.name} records of "
            f"{record_bytes:,} bytes and {rest:,} bytes more, from offset "
            f"{whole * record_bytes:,} on. It is truncated, has bytes added or is no "
            "batch file; `cifar data fetch` gets a whole one."
        )


def check_labels(labels: np.ndarray, record_format: RecordFormat, source: str) -> None:
    """Raises ValueError at the first label outside the format's classes."""
    wrong = np.flatnonzero(labels >= record_format.num_classes)
    if wrong.size:
        record = int(wrong[0])
        offset = record * record_format.record_bytes + record_format.label_index
        raise ValueError(
            f"{source}, record {record:,} (offset {offset:,}): label {labels[record]}, "
            f"expected 0 to {record_format.num_classes - 1}; {wrong.size:,} of "
            f"{labels.size:,} labels are outside. The file is damaged or no "
            f"{record_format.name} batch; `cifar data fetch` gets a whole one."
        )
