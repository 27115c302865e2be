"""Reads the images and the answers in PredictionLogs, as `request_log.py` writes them.

Every signature of `contract/signatures.py` is understood, in Predict, Classify, Regress and
MultiInference. A file may still be written: what ends within a record is read up to there.
"""

import collections
import dataclasses
import glob
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    classification_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
    prediction_log_pb2,
)

from contract import example_files, features
from contract.drift_record import LogCounts
from data_sources import picture_file

PATTERNS = ("*.tfrecord", "*.tfrecord.gz", "*.tfrecord.writing")
GZIP_START = b"\x1f\x8b"
WITH_EXAMPLES = ("classify_log", "regress_log", "multi_inference_log")


class UnusableLogsError(ValueError):
    """The logs contain too little to be compared."""


@dataclasses.dataclass(frozen=True)
class Served:
    """The model whose requests are read.

    Attributes:
        model: Its name; a log without a name counts as its own.
        version: Its version; a log without a version counts as its own.
        class_names: In the order of the labels.
        image_size: Height and width of its images.
    """

    model: str
    version: int
    class_names: Sequence[str]
    image_size: int


@dataclasses.dataclass(frozen=True)
class Request:
    """The images of a request, and the answers.

    Attributes:
        images: The pixels of each, RGB; empty for an image that cannot be decoded.
        classes: int64, the predicted class of each image; -1 for an unknown one.
    """

    images: list[bytes]
    classes: np.ndarray


def find(paths: Sequence[str]) -> list[str]:
    """Returns the log files in folders and below, by name or by pattern, sorted.

    Raises:
        UnusableLogsError: There are none.
    """
    found: set[Path] = set()
    for path in paths:
        for match in [path] if Path(path).exists() else glob.glob(path, recursive=True):  # noqa: PTH207 - absolute patterns too
            one = Path(match)
            inside = (file for pattern in PATTERNS for file in one.rglob(pattern))
            found |= set(inside) if one.is_dir() else {one}
    if not found:
        raise UnusableLogsError(
            f"There are no logs ({', '.join(PATTERNS)}) in {', '.join(paths)}. A server writes "
            "them if its model config has a logging_config."
        )
    return sorted(map(str, found))


class Reader:
    """Reads the requests to a model from files, and counts what it finds."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._labels = {name: number for number, name in enumerate(served.class_names)}
        self._numbers: collections.Counter[str] = collections.Counter()
        self._incomplete: list[str] = []

    def counts(self) -> LogCounts:
        """Returns what was found so far."""
        return LogCounts(incomplete=self._incomplete, **self._numbers)

    def read(self, files: Iterable[str]) -> Iterator[Request]:
        """Yields the requests that the version answered."""
        for file in files:
            self._numbers["files"] += 1
            try:
                for record in _records(file):
                    if request := self._request(record):
                        yield request
            except (OSError, tf.errors.OpError):  # cut short, damaged, or deleted meanwhile
                self._incomplete.append(file)

    def _request(self, record: bytes) -> Request | None:
        try:
            log = prediction_log_pb2.PredictionLog.FromString(record)
            if not self._is_answered_by_version(log.log_metadata.model_spec):
                self._numbers["of_others"] += 1
                return None
            images, classes = self._images(log), self._classes(log)
        except (ValueError, TypeError, DecodeError):
            images, classes = [], []
        if not images and not classes:
            self._numbers["unreadable"] += 1
            return None
        self._numbers["requests"] += 1
        self._numbers["images"] += len(images)
        self._numbers["bad_images"] += sum(not image for image in images)
        self._numbers["predictions"] += sum(number >= 0 for number in classes)
        classes += [-1] * (len(images) - len(classes))
        return Request(images, np.array(classes, np.int64))

    def _is_answered_by_version(self, spec: model_pb2.ModelSpec) -> bool:
        if spec.name and spec.name != self._served.model:
            return False
        return not spec.HasField("version") or spec.version.value == self._served.version

    def _images(self, log: prediction_log_pb2.PredictionLog) -> list[bytes]:
        kind = log.WhichOneof("log_type")
        if kind == "predict_log":
            return self._of_tensors(log.predict_log.request)
        if kind in WITH_EXAMPLES:
            return list(map(_pixels_of, _examples(getattr(log, kind).request.input)))
        return []

    def _of_tensors(self, request: predict_pb2.PredictRequest) -> list[bytes]:
        """Returns the images in the one input that each signature for Predict has."""
        ((name, tensor),) = request.inputs.items()
        values = tf.make_ndarray(tensor)
        if name == "images":
            return [image.tobytes() for image in values.astype(np.uint8)]
        if name == "image_bytes":
            return [self._decoded(content) for content in values.reshape(-1)]
        if name == "examples":
            parsed = map(tf.train.Example.FromString, values.reshape(-1))
            return list(map(_pixels_of, parsed))
        raise ValueError(f"unknown input {name}")

    def _decoded(self, content: bytes) -> bytes:
        try:
            return picture_file.decode(content, self._served.image_size).tobytes()
        except picture_file.PictureError:
            return b""

    def _classes(self, log: prediction_log_pb2.PredictionLog) -> list[int]:
        kind = log.WhichOneof("log_type")
        if kind == "predict_log":
            return self._of_outputs(log.predict_log.response)
        if kind == "classify_log":
            return self._of_scores(log.classify_log.response.result)
        if kind == "multi_inference_log":
            for result in log.multi_inference_log.response.results:
                if result.HasField("classification_result"):
                    return self._of_scores(result.classification_result)
        return []

    def _of_outputs(self, response: predict_pb2.PredictResponse) -> list[int]:
        """Returns the classes from the outputs that an output filter left."""
        outputs = {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}
        if "class_ids" in outputs:
            return [int(number) for number in outputs["class_ids"].reshape(-1)]
        if "probabilities" in outputs:
            return [
                int(number) for number in outputs["probabilities"].argmax(axis=-1).reshape(-1)
            ]
        names = outputs.get("classes", np.array([])).reshape(-1)
        return [self._labels.get(name.decode(), -1) for name in names]

    def _of_scores(self, result: classification_pb2.ClassificationResult) -> list[int]:
        best = [
            max(one.classes, key=lambda scored: scored.score).label if one.classes else ""
            for one in result.classifications
        ]
        return [self._labels.get(name, -1) for name in best]


def _records(file: str) -> Iterator[bytes]:
    with Path(file).open("rb") as stream:
        is_packed = stream.read(len(GZIP_START)) == GZIP_START
    records = tf.data.TFRecordDataset(file, "GZIP" if is_packed else "")
    yield from example_files.without_autotune(records).as_numpy_iterator()


def _examples(given: input_pb2.Input) -> Iterator[tf.train.Example]:
    """Yields the examples of a request; the context is part of each, unless it has its own."""
    if given.HasField("example_list"):
        yield from given.example_list.examples
        return
    context = given.example_list_with_context.context
    for example in given.example_list_with_context.examples:
        merged = tf.train.Example.FromString(context.SerializeToString())
        for name, value in example.features.feature.items():
            merged.features.feature[name].CopyFrom(value)
        yield merged


def _pixels_of(example: tf.train.Example) -> bytes:
    values = example.features.feature[features.IMAGE].bytes_list.value
    return values[0] if values else b""
