"""Writes predictions as Parquet, CSV, JSON lines or PredictionLogs."""

import contextlib
import dataclasses
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
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
class Results:
    """The predictions of a batch.

    Attributes:
        names: Name of each image.
        contents: The model's input for each image.
        outputs: Each output of the signature, shape (images, …).
        signature_name: The signature.
        input_name: Its only input.
    """

    names: Sequence[str]
    contents: Sequence[bytes]
    outputs: Mapping[str, np.ndarray]
    signature_name: str
    input_name: str

    @property
    def class_names(self) -> list[str]:
        """Returns the most probable class of each image."""
        return [name.decode() for name in self.outputs["classes"]]

    @property
    def class_ids(self) -> np.ndarray:
        """Returns the numbers of those classes, int64, shape (images,)."""
        return self.outputs["class_ids"]

    @property
    def probabilities(self) -> np.ndarray:
        """Returns the probabilities, float32, shape (images, classes)."""
        return self.outputs["probabilities"]

    def rows(self, places: np.ndarray) -> "Results":
        """Returns the results of some images, by number."""
        return dataclasses.replace(
            self,
            names=[self.names[place] for place in places],
            contents=[self.contents[place] for place in places],
            outputs={name: output[places] for name, output in self.outputs.items()},
        )


def as_text(name: str) -> str:
    """Returns the name of a file as text, with bytes that are not UTF-8 as backslashes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def write_parquet(results: Results, path: Path) -> None:
    """Writes the columns image, class, class_id, probability and probabilities (a list)."""
    images, classes = results.probabilities.shape
    columns = _columns(results)
    offsets = np.arange(images + 1, dtype=np.int32) * classes
    columns["probabilities"] = pa.ListArray.from_arrays(
        offsets, pa.array(results.probabilities.reshape(-1))
    )
    parquet.write_table(pa.table(columns), path)


def write_csv(results: Results, path: Path) -> None:
    """Writes the columns image, class, class_id, probability and one for each class id."""
    columns = _columns(results)
    for number, column in enumerate(results.probabilities.T):
        columns[f"probability_{number}"] = pa.array(column)
    csv.write_csv(pa.table(columns), path)


def write_json_lines(results: Results, path: Path) -> None:
    """Writes the lines that `cifar predict --json` prints."""
    rows = zip(
        results.names,
        results.class_names,
        results.class_ids.tolist(),
        results.probabilities.tolist(),
        strict=True,
    )
    with path.open("w") as file:
        for image, class_name, class_id, probabilities in rows:
            fields = {
                "image": as_text(image),
                "class": class_name,
                "class_id": class_id,
                "probability": max(probabilities),
                "probabilities": probabilities,
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


def write_prediction_logs(results: Results, path: Path) -> None:
    """Writes a gzipped TFRecord file of one PredictionLog per image, as BulkInferrer does."""
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for place, content in enumerate(results.contents):
            log = prediction_log_pb2.PredictionLog()
            request, response = log.predict_log.request, log.predict_log.response
            for message in (request, response):
                message.model_spec.signature_name = results.signature_name
            fed = tf.make_tensor_proto([content], tf.string)
            request.inputs[results.input_name].CopyFrom(fed)
            for name, output in results.outputs.items():
                value = tf.make_tensor_proto(output[place : place + 1])
                response.outputs[name].CopyFrom(value)
            writer.write(log.SerializeToString())


@dataclasses.dataclass(frozen=True)
class Format:
    """One way to write results."""

    suffix: str
    write: Callable[[Results, Path], None]
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


def write_batch(path: Path, format_name: str, results: Results, failed: Sequence[Item]) -> None:
    """Writes the results of a batch by a rename, after the list of failed images.

    Concurrent attempts write separate files; the last rename wins, with equal content.
    """
    if failed:
        lines = [
            json.dumps({"image": as_text(item.name), "error": item.error}) for item in failed
        ]
        with _renamed(failed_file(path)) as partial:
            partial.write_text("\n".join(lines) + "\n")
    with _renamed(path) as partial:
        FORMATS[format_name].write(results, partial)


def failed_file(path: Path) -> Path:
    """Returns the path of the list of a batch's failed images."""
    numbers = path.name.removeprefix(PREDICTIONS).split(".")[0]
    return path.with_name(f"{FAILED}{numbers}.jsonl")


def remove_partial(folder: Path) -> None:
    """Deletes the files that a killed call did not finish."""
    for prefix in (PREDICTIONS, FAILED):
        for partial in folder.glob(f".{prefix}-*"):
            partial.unlink()


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
        with partial.open("rb+") as file:
            os.fsync(file.fileno())  # else a power cut may leave the name without the content
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _columns(results: Results) -> dict[str, pa.Array]:
    return {
        "image": pa.array(list(map(as_text, results.names)), pa.string()),
        "class": pa.array(results.class_names, pa.string()),
        "class_id": pa.array(results.class_ids, pa.int64()),
        "probability": pa.array(results.probabilities.max(axis=1), pa.float32()),
    }
