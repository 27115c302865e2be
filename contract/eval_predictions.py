"""What the candidate predicts for each image of eval: Parquet files in the evaluation."""

import posixpath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

PREFIX, SUFFIX = "predictions", ".parquet"

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.int64()),
        ("class_id", pa.int64()),  # the most probable label
        ("probability", pa.float32()),  # that it is right, by the model
    ]
)


def to_table(keys: np.ndarray, labels: np.ndarray, probabilities: np.ndarray) -> pa.Table:
    """Returns the predictions of n images.

    Args:
        keys: `file:record` of each, bytes, shape (n,).
        labels: int64, shape (n,).
        probabilities: float32, shape (n, classes).
    """
    return pa.table(
        {
            "key": [key.decode() for key in keys],
            "label": labels,
            "class_id": probabilities.argmax(axis=1),
            "probability": probabilities.max(axis=1),
        },
        schema=SCHEMA,
    )


def exist(evaluation_dir: str) -> bool:
    """Returns whether an evaluation contains predictions."""
    return bool(_files(evaluation_dir))


def read(evaluation_dir: str) -> pa.Table:
    """Returns the predictions in an evaluation, in no particular order."""
    tables = []
    for path in _files(evaluation_dir):
        with tf.io.gfile.GFile(path, "rb") as file:
            parquet = pq.ParquetFile(pa.BufferReader(file.read()))
        # Arrow's threads may abort a process that TensorFlow ends.
        tables.append(parquet.read(use_threads=False))
    return pa.concat_tables(tables)


def _files(evaluation_dir: str) -> list[str]:
    pattern = posixpath.join(evaluation_dir, f"{PREFIX}-*{SUFFIX}")
    return sorted(tf.io.gfile.glob(pattern))
