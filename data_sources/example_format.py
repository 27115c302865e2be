"""Converts batches to examples. A change of its statements retrains, like other data would."""

from collections.abc import Sequence

from tensorflow.core.example import example_pb2

from contract import features
from data_sources import cifar_format


def encode_examples(
    content: bytes,
    name: str,
    record_format: cifar_format.RecordFormat,
    records: slice = slice(None),
    keys: Sequence[str] = (),
) -> list[bytes]:
    """Returns the serialized tf.Examples of a batch file or of some records, in their order.

    Equal batches give equal bytes: the features of an example are a map, whose order protobuf
    only fixes on request.

    Args:
        content: The whole batch file, all of which is checked.
        name: Its file name, the first half of each `key`.
        record_format: The layout of one record.
        records: Which records, by number from 0.
        keys: The origin of each record of the batch, instead of file and number.
    """
    all_records, all_labels = cifar_format.check_records(content, record_format, name)
    images = cifar_format.images_of(all_records[records], record_format)
    numbers = range(len(all_labels))[records]
    examples = []
    for record, image, label in zip(numbers, images, all_labels[records], strict=True):
        key = keys[record] if keys else f"{name}:{record}"
        example = example_pb2.Example()
        feature = example.features.feature
        feature[features.IMAGE].bytes_list.value.append(image.tobytes())
        feature[features.LABEL].int64_list.value.append(int(label))
        feature[features.KEY].bytes_list.value.append(key.encode())
        examples.append(example.SerializeToString(deterministic=True))
    return examples
