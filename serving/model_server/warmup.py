"""Replays a model's recorded requests before it becomes available.

A SavedModel can contain recorded requests in `assets.extra`. TensorFlow optimizes a graph
when it first runs each input shape; warm-up spends that time before real requests arrive.
"""

import logging
import time
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from serving.model_server import example_apis, inference
from serving.model_server.servable import STEP_SECONDS, Servable
from serving.model_server.status import Code, ServingError, invalid

RECORDS_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000

_log = logging.getLogger(__name__)


def warm_up(servable: Servable, iterations: int = 1) -> int:
    """Replays the model's warm-up records, each `iterations` times.

    Returns:
        The number of records; 0 if the model has none.

    Raises:
        ServingError: The file is damaged or has more than 1,000 records, or a request in
            it fails. Such a model does not become available.
    """
    path = servable.path / RECORDS_FILE
    if not path.exists():
        return 0
    start = time.perf_counter()
    records = read_records(path)
    for log in records:
        for _ in range(iterations):
            replay(servable, log)
        replay(servable, log, STEP_SECONDS)  # the callable for requests with a deadline
    _log.info(
        "Replayed %d warm-up records of %s version %d in %.1f s",
        len(records), servable.name, servable.version, time.perf_counter() - start,
    )  # fmt: skip
    return len(records)


def read_records(path: Path) -> list[prediction_log_pb2.PredictionLog]:
    """Returns the requests recorded in a file."""
    try:
        # `take` stops after one record too many, without reading the rest.
        serialized = list(
            tf.data.TFRecordDataset(str(path)).take(MAX_RECORDS + 1).as_numpy_iterator()
        )
    except tf.errors.DataLossError as error:
        raise ServingError(
            Code.DATA_LOSS,
            f"{error.message}. Please verify your warmup data is in TFRecord format.",
        ) from error
    if len(serialized) > MAX_RECORDS:
        raise invalid(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}")
    try:
        return [prediction_log_pb2.PredictionLog.FromString(one) for one in serialized]
    except DecodeError as error:
        raise invalid(f"Failed to parse warmup record from {path}") from error


def replay(
    servable: Servable,
    log: prediction_log_pb2.PredictionLog,
    timeout_seconds: float | None = None,
) -> None:
    """Runs one recorded request and discards the response."""
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        call = inference.predict(servable, log.predict_log.request)
    elif kind == "classify_log":
        call = example_apis.classify(servable, log.classify_log.request)
    elif kind == "regress_log":
        call = example_apis.regress(servable, log.regress_log.request)
    elif kind == "multi_inference_log":
        call = example_apis.multi_inference(servable, log.multi_inference_log.request)
    else:
        raise ServingError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")
    call.run(timeout_seconds)
