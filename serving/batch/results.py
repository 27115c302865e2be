"""Writes predictions as Parquet, CSV, JSON lines or PredictionLogs."""

import contextlib
import dataclasses
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import tensorflow as tf
from pyarrow import csv, parquet
from tensorflow_serving.apis import prediction_log_pb2

from contract import example_files
from serving.batch.sources import Item

PREDICTIONS = "predictions"
FAILED = "failed"


@dataclasses.dataclass(frozen=True)
class Result:
    """The prediction of one image.

    Attributes:
        name: Name of the image.
        log: The request and the response.
        class_name: The most probable class.
        class_id: The number of that class.
        probabilities: float32, shape (classes,).
    """

    name: str
    log: prediction_log_pb2.PredictionLog
    class_name: str
    class_id: int
    probabilities: np.ndarray


def to_result(name: str, log: prediction_log_pb2.PredictionLog) -> Result:
    """Returns the result in a PredictionLog of one image."""
    outputs = log.predict_log.response.outputs
    return Result(
        name,
        log,
        outputs["classes"].string_val[0].decode(),
        outputs["class_ids"].int64_val[0],
        tf.make_ndarray(outputs["probabilities"])[0],
    )


def write_parquet(results: Sequence[Result], path: Path) -> None:
    """Writes the columns image, class, class_id, probability and probabilities (a list)."""
    columns = _columns(results)
    lists = [result.probabilities.tolist() for result in results]
    columns["probabilities"] = pa.array(lists, pa.list_(pa.float32()))
    parquet.write_table(pa.table(columns), path)


def write_csv(results: Sequence[Result], path: Path) -> None:
    """Writes the columns image, class, class_id, probability and one for each class id."""
    columns = _columns(results)
    if results:
        matrix = np.stack([result.probabilities for result in results])
        for number, column in enumerate(matrix.T):
            columns[f"probability_{number}"] = pa.array(column)
    csv.write_csv(pa.table(columns), path)


def write_json_lines(results: Sequence[Result], path: Path) -> None:
    """Writes the lines that `cifar predict --json` prints."""
    with path.open("w") as file:
        for result in results:
            fields = {
                "image": result.name,
                "class": result.class_name,
                "class_id": result.class_id,
                "probability": float(result.probabilities.max()),
                "probabilities": result.probabilities.tolist(),
            }
            file.write(json.dumps(fields) + "\n")


def count_parquet(path: Path) -> int:
    """Returns how many results a file has."""
    return int(parquet.read_metadata(path).num_rows)


def count_csv(path: Path) -> int:
    """Returns how many results a file has."""
    return int(csv.read_csv(path).num_rows)


def count_lines(path: Path) -> int:
    """Returns how many results or failed images a file has."""
    with path.open() as file:
        return sum(1 for _ in file)


def count_prediction_logs(path: Path) -> int:
    """Returns how many results a file has."""
    return example_files.count([str(path)])


def write_prediction_logs(results: Sequence[Result], path: Path) -> None:
    """Writes a gzipped TFRecord file of PredictionLogs, as TFX's BulkInferrer does."""
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for result in results:
            writer.write(result.log.SerializeToString())


@dataclasses.dataclass(frozen=True)
class Format:
    """One way to write results."""

    suffix: str
    write: Callable[[Sequence[Result], Path], None]
    count: Callable[[Path], int]


FORMATS = {
    "parquet": Format(".parquet", write_parquet, count_parquet),
    "csv": Format(".csv", write_csv, count_csv),
    "jsonl": Format(".jsonl", write_json_lines, count_lines),
    "prediction-log": Format(".tfrecord.gz", write_prediction_logs, count_prediction_logs),
}


def batch_file(folder: Path, source: int, batch: int, format_name: str) -> Path:
    """Returns the path of a batch's complete results."""
    return folder / f"{PREDICTIONS}-{source:05d}-{batch:05d}{FORMATS[format_name].suffix}"


def write_batch(
    path: Path, format_name: str, results: Sequence[Result], failed: Sequence[Item]
) -> None:
    """Writes the results of a batch by a rename, after the list of failed images.

    Concurrent attempts write separate files; the last rename wins, with equal content.
    """
    if failed:
        lines = [json.dumps({"image": item.name, "error": item.error}) for item in failed]
        with _renamed(failed_file(path)) as partial:
            partial.write_text("\n".join(lines) + "\n")
    with _renamed(path) as partial:
        FORMATS[format_name].write(results, partial)


def failed_file(path: Path) -> Path:
    """Returns the path of the list of a batch's failed images."""
    numbers = path.name.removeprefix(PREDICTIONS).split(".")[0]
    return path.with_name(f"{FAILED}{numbers}.jsonl")


def count(folder: Path, format_name: str) -> tuple[int, int]:
    """Returns how many images of a folder have a prediction, and how many do not."""
    format = FORMATS[format_name]
    found = sum(format.count(path) for path in folder.glob(f"{PREDICTIONS}-*{format.suffix}"))
    return found, sum(count_lines(path) for path in folder.glob(f"{FAILED}-*.jsonl"))


@contextlib.contextmanager
def _renamed(path: Path) -> Iterator[Path]:
    """Yields a name to write to, and renames it to `path` when the block succeeds."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _columns(results: Sequence[Result]) -> dict[str, pa.Array]:
    return {
        "image": pa.array([result.name for result in results], pa.string()),
        "class": pa.array([result.class_name for result in results], pa.string()),
        "class_id": pa.array([result.class_id for result in results], pa.int64()),
        "probability": pa.array(
            [float(result.probabilities.max()) for result in results], pa.float32()
        ),
    }
