"""Converts batches to examples. A change of its statements retrains, like other data would."""

import functools
from collections.abc import Sequence

import numpy as np
from tensorflow.core.example import example_pb2

from contract import features
from data_sources import cifar_format


def encode_examples(
    content: bytes,
    name: str,
    record_format: cifar_format.RecordFormat,
    first: int = 0,
    keys: Sequence[str] = (),
) -> list[bytes]:
    """Returns the serialized tf.Examples of consecutive records.

    Equal records give equal bytes: the features of an example are a map, whose order protobuf
    only fixes on request.

    Args:
        content: A batch file, or a piece of one.
        name: Its file name, the first half of each `key`.
        record_format: The layout of one record.
        first: The number of the first record in the file.
        keys: The origin of each record of the file, instead of file and number.
    """
    images, labels = cifar_format.decode_records(content, record_format, name, first)
    examples = []
    for record, (image, label) in enumerate(zip(images, labels.tolist(), strict=True), first):
        key = (keys[record] if keys else f"{name}:{record}").encode()
        before, between, after = _around(image.size, label, len(key))
        examples.append(b"".join((before, image.tobytes(), between, key, after)))
    return examples


@functools.lru_cache(maxsize=4_096)
def _around(image_bytes: int, label: int, key_bytes: int) -> tuple[bytes, bytes, bytes]:
    """Returns what precedes the image, the key, and the end of each example of these sizes.

    Only image and key differ from one to the next, so protobuf serializes two and not
    thousands, which would take several times as long.
    """
    low, high = (
        np.frombuffer(
            _serialize(bytes([fill]) * image_bytes, label, bytes([fill]) * key_bytes), np.uint8
        )
        for fill in (0, 255)
    )
    places = np.flatnonzero(low != high)  # of the image, then of the key
    image, key = places[0], places[image_bytes]
    content = low.tobytes()
    return content[:image], content[image + image_bytes : key], content[key + key_bytes :]


def _serialize(image: bytes, label: int, key: bytes) -> bytes:
    example = example_pb2.Example()
    feature = example.features.feature
    feature[features.IMAGE].bytes_list.value.append(image)
    feature[features.LABEL].int64_list.value.append(label)
    feature[features.KEY].bytes_list.value.append(key)
    serialized: bytes = example.SerializeToString(deterministic=True)
    return serialized
