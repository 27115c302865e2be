"""How batches become examples. An edit of what this does trains anew, as other data would."""

from tensorflow.core.example import example_pb2

from contract import features
from data_sources import cifar_format


def encode_examples(
    content: bytes,
    name: str,
    record_format: cifar_format.RecordFormat,
    records: slice = slice(None),
) -> list[bytes]:
    """Returns the serialized tf.Examples of a batch file or of some records, in their order.

    Equal batches give equal bytes: the features of an example are a map, whose order
    protobuf leaves open unless asked.

    Args:
        content: The whole batch file, which is checked whole.
        name: Its file name, the first half of each `key`.
        record_format: The layout of one record.
        records: Which of them, by number from 0.
    """
    images, labels = cifar_format.decode_records(content, record_format, name)
    examples = []
    for record in range(len(labels))[records]:
        example = example_pb2.Example()
        feature = example.features.feature
        feature[features.IMAGE].bytes_list.value.append(images[record].tobytes())
        feature[features.LABEL].int64_list.value.append(int(labels[record]))
        feature[features.KEY].bytes_list.value.append(f"{name}:{record}".encode())
        examples.append(example.SerializeToString(deterministic=True))
    return examples
