"""Converts batches to examples. A change of its statements retrains, like other data would."""

from collections.abc import Sequence

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
    for record, (image, label) in enumerate(zip(images, labels, strict=True), first):
        key = keys[record] if keys else f"{name}:{record}"
        example = example_pb2.Example()
        feature = example.features.feature
        feature[features.IMAGE].bytes_list.value.append(image.tobytes())
        feature[features.LABEL].int64_list.value.append(int(label))
        feature[features.KEY].bytes_list.value.append(key.encode())
        examples.append(example.SerializeToString(deterministic=True))
    return examples
