"""Reads examples: TFRecord files of serialized tf.Examples."""

from collections.abc import Sequence

import tensorflow as tf

from contract import features

_READ_BATCH_SIZE = 1_000


def find(patterns: Sequence[str]) -> list[str]:
    """Returns the files that match, sorted by name.

    Raises:
        FileNotFoundError: Nothing matches.
    """
    files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
    if not files:
        raise FileNotFoundError(
            f"No examples match {', '.join(patterns)}. CifarExampleGen writes them; run the "
            "pipeline from its start."
        )
    return files


def read(files: Sequence[str]) -> tf.data.Dataset:
    """Returns the serialized tf.Examples of TFRecord files, in order; `.gz` is unpacked."""
    compression = "GZIP" if files[0].endswith(".gz") else ""
    return without_autotune(tf.data.TFRecordDataset(files, compression, buffer_size=1 << 20))


def read_one(file: tf.Tensor, like: str) -> tf.data.Dataset:
    """Returns the serialized tf.Examples of a file that is packed as another one is."""
    compression = "GZIP" if like.endswith(".gz") else ""
    return tf.data.TFRecordDataset(file, compression, buffer_size=1 << 18)


def without_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the dataset without the autotune thread, which has nothing to tune here.

    That thread sleeps for ever longer times, and closing a session waited for it, up to 18 s.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def count(files: Sequence[str]) -> int:
    """Returns the number of examples in the files. Reads eagerly."""
    batches = read(files).batch(_READ_BATCH_SIZE)
    return sum(int(batch.shape[0]) for batch in batches)


def read_first(files: Sequence[str], count: int) -> list[bytes]:
    """Returns the first serialized tf.Examples, at most `count`. Reads eagerly."""
    return [serialized.numpy() for serialized in read(files).take(count)]


def keys_of(examples: Sequence[bytes]) -> list[bytes]:
    """Returns the key of each serialized tf.Example, which tells where it came from."""
    parsed = (tf.train.Example.FromString(serialized) for serialized in examples)
    return [example.features.feature[features.KEY].bytes_list.value[0] for example in parsed]
