"""Logs samples of requests and responses, as set in a model's `logging_config`.

TensorFlow Serving's binary reads that config but has no collector; ours has one, `tfrecord`:

    logging_config {
      log_collector_config { type: "tfrecord" filename_prefix: "/logs/cifar10" }
      sampling_config { sampling_rate: 0.01 }
    }

A thread writes PredictionLogs to `<prefix>-<time>-<number>.tfrecord`. The name of a file that
is still being written ends in `.writing`. A full disk loses records but fails no request, and
deletes no file.
"""

import contextlib
import dataclasses
import fcntl
import logging
import os
import queue
import random
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import tensorflow as tf
from google.protobuf.message import Message
from tensorflow_serving.apis import model_pb2, prediction_log_pb2
from tensorflow_serving.config import logging_config_pb2

from serving.model_server.metrics import Metrics
from serving.model_server.model_configs import ModelConfig
from serving.model_server.status import Code

MAX_WAITING_RECORDS = 1000
MAX_WAITING_BYTES = 64 * 2**20
ROTATE_BYTES = 64 * 2**20
ROTATE_SECONDS = 300
MAX_FILES = 100  # per prefix; the oldest are deleted
WRITING = ".writing"
_OWN_NAME = r"-\d{8}T\d{6}-\d+-\d{5,}\.tfrecord"  # after the prefix, as in `_opened`
PAUSE_SECONDS = 60  # without any attempt to write, after one that failed

# The field of a PredictionLog for each API; gRPC and REST differ in the name's case.
_FIELDS = {
    "predict": "predict_log",
    "classify": "classify_log",
    "regress": "regress_log",
    "multiinference": "multi_inference_log",
}
_log = logging.getLogger(__name__)


class RequestLog:
    """Knows which models are logged, and where."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._configs: dict[str, logging_config_pb2.LoggingConfig] = {}
        self._collectors: dict[str, Collector] = {}

    def configure(self, models: Mapping[str, ModelConfig]) -> None:
        """Applies these configs; stops collectors that are no longer used."""
        configs = {
            name: model.logging_config
            for name, model in models.items()
            if model.HasField("logging_config")
        }
        prefixes = {c.log_collector_config.filename_prefix for c in configs.values()}
        for prefix in prefixes - self._collectors.keys():
            self._collectors[prefix] = Collector(prefix)
        self._configs = configs
        for prefix in self._collectors.keys() - prefixes:
            self._collectors.pop(prefix).close()

    def wants(self, model: str) -> bool:
        """Returns whether to log this request."""
        config = self._configs.get(model)
        return config is not None and random.random() < config.sampling_config.sampling_rate

    def add(
        self, api: str, spec: model_pb2.ModelSpec, request: Message, response: Message
    ) -> None:
        """Logs a request and its response.

        Args:
            api: Predict, Classify, Regress or MultiInference, in any case.
            spec: The model that answered, with version and signature.
            request: The request as received.
            response: The response as sent.
        """
        config = self._configs.get(spec.name)
        if config is None:
            return  # logging was turned off after `wants`
        log = prediction_log_pb2.PredictionLog()
        log.log_metadata.model_spec.CopyFrom(spec)
        log.log_metadata.sampling_config.CopyFrom(config.sampling_config)
        entry = getattr(log, _FIELDS[api.lower()])
        entry.request.CopyFrom(request)
        entry.response.CopyFrom(response)
        collector = self._collectors.get(config.log_collector_config.filename_prefix)
        is_kept = collector is not None and collector.add(log.SerializeToString())
        status = Code.OK if is_kept else Code.RESOURCE_EXHAUSTED
        self._metrics.request_logs.add(spec.name, status.name)

    def close(self) -> None:
        """Writes the waiting records, and stops."""
        for collector in self._collectors.values():
            collector.close()


class Collector:
    """A bounded queue of records, and the thread that writes them."""

    def __init__(self, prefix: str) -> None:
        """Starts the thread."""
        self._waiting: queue.Queue[bytes | None] = queue.Queue(MAX_WAITING_RECORDS)
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._files = RotatedFiles(Path(prefix))
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
        self._thread.start()

    def add(self, record: bytes) -> bool:
        """Queues a record; returns whether there was room."""
        with self._lock:
            if self._waiting_bytes + len(record) > MAX_WAITING_BYTES:
                return False
            try:
                self._waiting.put_nowait(record)
            except queue.Full:
                return False
            self._waiting_bytes += len(record)
            return True

    def close(self) -> None:
        """Writes the waiting records, and stops the thread."""
        self._waiting.put(None)
        self._thread.join(timeout=10)

    def _run(self) -> None:
        paused_until = 0.0
        record: bytes | None = b""
        while record is not None:
            try:
                record = self._waiting.get(timeout=1)
            except queue.Empty:
                record = b""
            try:
                if record is None:
                    self._files.close()
                elif record and time.monotonic() >= paused_until:
                    self._files.write(record)
                self._files.rotate_if_due()
            except (OSError, tf.errors.OpError) as error:
                paused_until = time.monotonic() + PAUSE_SECONDS
                _log.error("Cannot log requests, next try in %d s: %s", PAUSE_SECONDS, error)
            with self._lock:
                self._waiting_bytes -= len(record or b"")


@dataclasses.dataclass
class _OpenFile:
    """The file being written."""

    path: Path
    lock: IO[Any]  # released when the process ends
    writer: tf.io.TFRecordWriter
    since: float  # on the monotonic clock
    size_bytes: int = 0  # of the complete records


class RotatedFiles:
    """TFRecord files of one prefix: one being written, and a limited number of others."""

    def __init__(self, prefix: Path) -> None:
        """Renames files that an earlier process did not finish."""
        self._prefix = prefix
        self._number = 0
        self._open: _OpenFile | None = None
        for path in self._found(WRITING):
            with contextlib.suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails if in use
                path.rename(path.with_suffix(""))

    def write(self, record: bytes) -> None:
        """Appends a record to the current file; if that fails, ends the file."""
        if self._open is None:
            self._open = self._opened()
        try:
            self._open.writer.write(record)
            self._open.writer.flush()
        except tf.errors.OpError:
            with contextlib.suppress(tf.errors.OpError):
                self._finish(self._open)
            raise
        self._open.size_bytes += len(record) + 16

    def rotate_if_due(self) -> None:
        """Closes the file if it is large or old."""
        if self._open is None:
            return
        age = time.monotonic() - self._open.since
        if self._open.size_bytes >= ROTATE_BYTES or age >= ROTATE_SECONDS:
            self.close()

    def close(self) -> None:
        """Finishes the file, and deletes the oldest files beyond the limit."""
        if self._open is None:
            return
        self._finish(self._open)
        for path in self._found()[:-MAX_FILES]:
            path.unlink(missing_ok=True)

    def _finish(self, done: _OpenFile) -> None:
        """Closes the file, and keeps it if it contains a complete record."""
        self._open = None
        try:
            done.writer.close()
        finally:
            if done.size_bytes:
                done.path.rename(done.path.with_suffix(""))
            else:
                done.path.unlink()
            done.lock.close()

    def _opened(self) -> _OpenFile:
        self._prefix.parent.mkdir(parents=True, exist_ok=True)
        self._number += 1
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        name = f"{self._prefix.name}-{stamp}-{os.getpid()}-{self._number:05}.tfrecord{WRITING}"
        path = self._prefix.with_name(name)
        lock = path.open("ab")
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _OpenFile(path, lock, tf.io.TFRecordWriter(str(path)), time.monotonic())

    def _found(self, suffix: str = "") -> list[Path]:
        """Returns the files of this prefix, oldest first; not those of `<prefix>-canary`."""
        name = re.compile(re.escape(self._prefix.name) + _OWN_NAME + re.escape(suffix))
        found = (path for path in self._prefix.parent.glob("*") if name.fullmatch(path.name))
        return sorted(found, key=lambda path: path.name)
