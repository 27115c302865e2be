"""The serving gate: a real server loads the candidate and answers real requests.

TFX's InfraValidator needs Docker or Kubernetes. This node starts the embedded model server on
the candidate, replays `eval` examples over gRPC and REST, and compares the answers with the
Trainer's own predictions. Pusher requires the InfraBlessing.
"""

import base64
import concurrent.futures
import dataclasses
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import requests
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.utils import io_utils, path_utils

from contract import features, serving_report, signatures
from contract.files import PREDICTIONS_FILE
from contract.serving_report import BLESSED, ServingReport
from serving.model_server.process import ServerProcess, ServerStartError

log = logging.getLogger("cifar.serving_check")

MODEL_NAME = "candidate"
VERSION = "1"
BATCH_SIZE = 50
LATENCY_REQUESTS = 50
TIMEOUT_SECONDS = 60.0


class RefusedError(Exception):
    """The reason not to push a candidate."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """The limits for a candidate.

    Attributes:
        max_difference: Between a served probability and the Trainer's.
        max_latency_milliseconds: Median of one image over gRPC.
    """

    max_difference: float
    max_latency_milliseconds: float


class ServingCheckSpec(component_spec.ComponentSpec):
    """Inputs, parameters and output of ServingCheck."""

    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_run": component_spec.ChannelParameter(type=standard_artifacts.ModelRun),
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }
    PARAMETERS = {
        "max_difference": component_spec.ExecutionParameter(type=float),
        "max_latency_milliseconds": component_spec.ExecutionParameter(type=float),
    }
    OUTPUTS = {
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing)
    }


class Executor(base_executor.BaseExecutor):
    """Serves the candidate and judges its answers."""

    def Do(  # noqa: N802 - the name TFX calls
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the blessing, and beside it the verdict with the measurements."""
        model_dir = path_utils.serving_model_dir(
            artifact_utils.get_single_uri(input_dict["model"])
        )
        run_dir = artifact_utils.get_single_uri(input_dict["model_run"])
        keys, expected = read_predictions(f"{run_dir}/{PREDICTIONS_FILE}")
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        limits = Limits(
            exec_properties["max_difference"], exec_properties["max_latency_milliseconds"]
        )
        # While the server starts: it may be necessary to import TensorFlow first, which takes
        # about as long.
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            examples = thread.submit(read_examples, input_dict["examples"], keys)
            try:
                report = check_model(model_dir, examples.result, expected, limits)
            except RefusedError as refused:
                report = ServingReport(f"NOT BLESSED: {refused}")
        blessing.set_int_custom_property("blessed", int(report.is_blessed))
        serving_report.write(blessing.uri, report)
        log.info("%s", report.verdict)


class ServingCheck(base_component.BaseComponent):
    """Blesses a candidate that a server can load and that answers correctly and in time."""

    SPEC_CLASS = ServingCheckSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        model_run: types.BaseChannel,
        examples: types.BaseChannel,
        max_difference: float,
        max_latency_milliseconds: float,
    ) -> None:
        """Makes the node.

        Args:
            model: The candidate.
            model_run: Contains the Trainer's predictions, in `eval_predictions.npz`.
            examples: Contains the `eval` examples to replay.
            max_difference: Between a served probability and the Trainer's.
            max_latency_milliseconds: Median of one image over gRPC.
        """
        super().__init__(
            spec=ServingCheckSpec(
                model=model,
                model_run=model_run,
                examples=examples,
                max_difference=max_difference,
                max_latency_milliseconds=max_latency_milliseconds,
                blessing=types.Channel(type=standard_artifacts.InfraBlessing),
            )
        )


def check_model(
    model_dir: str,
    read_examples: Callable[[], list[bytes]],
    expected: np.ndarray,
    limits: Limits,
) -> ServingReport:
    """Returns the measurements of a candidate that keeps the limits, and is thus blessed.

    Args:
        model_dir: The SavedModel.
        read_examples: Returns the serialized tf.Examples to replay, once the server is ready.
        expected: float32, shape (n, classes): the probabilities of each example.
        limits: The limits for the candidate.

    Raises:
        RefusedError: It does not load, does not answer, or answers wrongly or too slowly.
    """
    with tempfile.TemporaryDirectory(prefix="candidate-") as base_path:
        io_utils.copy_dir(model_dir, f"{base_path}/{VERSION}")
        server = ServerProcess(
            f"--model_name={MODEL_NAME}",
            f"--model_base_path={base_path}",
            "--max_num_load_retries=0",
            start_seconds=TIMEOUT_SECONDS,
        )
        try:
            with server:
                return _check_answers(server, read_examples(), expected, limits)
        except ServerStartError as error:
            raise RefusedError(f"the server could not load it: {error.reason}") from error


def _check_answers(
    server: ServerProcess, examples: list[bytes], expected: np.ndarray, limits: Limits
) -> ServingReport:
    """Returns the measurements over both protocols; raises RefusedError beyond a limit."""
    with grpc.insecure_channel(server.grpc_target) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        batches = [
            slice(start, start + BATCH_SIZE) for start in range(0, len(examples), BATCH_SIZE)
        ]
        try:
            answers = {
                "gRPC": [predict_by_grpc(stub, examples[batch]) for batch in batches],
                "REST": [
                    predict_by_rest(server.rest_url, examples[batch]) for batch in batches
                ],
            }
            latencies = _latencies(stub, examples)
        except (grpc.RpcError, requests.RequestException, KeyError, ValueError) as error:
            raise RefusedError(f"a request failed: {_words(error)}") from error
    differences = {
        protocol: _difference(np.concatenate(served), expected)
        for protocol, served in answers.items()
    }
    for protocol, difference in differences.items():
        if not difference <= limits.max_difference:
            raise RefusedError(
                f"a probability served over {protocol} differs by {difference:.3g} from the "
                f"Trainer's; at most {limits.max_difference:g} is allowed"
            )
    latency = statistics.median(latencies)
    if not latency <= limits.max_latency_milliseconds:
        raise RefusedError(
            f"one image takes {latency:.1f} ms over gRPC; at most "
            f"{limits.max_latency_milliseconds:g} ms is allowed"
        )
    difference = max(differences.values())
    return ServingReport(
        f"{BLESSED}: {len(examples)} examples over gRPC and REST, at most {difference:.1g} "
        f"from the Trainer's probabilities, {latency:.1f} ms per image",
        examples=len(examples),
        difference=difference,
        latency_milliseconds=latency,
        slowest_milliseconds=max(latencies),
    )


def predict_by_grpc(
    stub: prediction_service_pb2_grpc.PredictionServiceStub, examples: list[bytes]
) -> np.ndarray:
    """Returns the probabilities of serialized examples, float32, shape (n, classes)."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL_NAME
    request.model_spec.signature_name = signatures.EXAMPLES
    request.inputs["examples"].CopyFrom(tf.make_tensor_proto(examples, tf.string))
    response = stub.Predict(request, timeout=TIMEOUT_SECONDS)
    probabilities: np.ndarray = tf.make_ndarray(response.outputs["probabilities"])
    return probabilities


def predict_by_rest(rest_url: str, examples: list[bytes]) -> np.ndarray:
    """Returns the probabilities of serialized examples, float32, shape (n, classes)."""
    encoded = [{"b64": base64.b64encode(example).decode()} for example in examples]
    response = requests.post(
        f"{rest_url}/v1/models/{MODEL_NAME}:predict",
        json={"signature_name": signatures.EXAMPLES, "instances": encoded},
        timeout=TIMEOUT_SECONDS,
    )
    response.raise_for_status()
    # A signature with one output answers with bare values.
    rows = [
        row["probabilities"] if isinstance(row, dict) else row
        for row in response.json()["predictions"]
    ]
    return np.array(rows, np.float32)


def _latencies(
    stub: prediction_service_pb2_grpc.PredictionServiceStub, examples: list[bytes]
) -> list[float]:
    """Returns the milliseconds of single requests, one after another."""
    milliseconds = []
    for number in range(LATENCY_REQUESTS):
        started = time.perf_counter()
        predict_by_grpc(stub, [examples[number % len(examples)]])
        milliseconds.append((time.perf_counter() - started) * 1e3)
    return milliseconds


def _difference(served: np.ndarray, expected: np.ndarray) -> float:
    """Returns the largest difference; infinite if the shapes differ, NaN if one is NaN."""
    if served.shape != expected.shape:
        return float("inf")
    return float(np.abs(served - expected).max())


def read_predictions(path: str) -> tuple[list[bytes], np.ndarray]:
    """Returns the keys and the probabilities (n, classes) that the Trainer wrote."""
    with fileio.open(path, "rb") as file, np.load(file) as arrays:
        return arrays["keys"].tolist(), arrays["probabilities"]


def read_examples(artifacts: list[types.Artifact], keys: list[bytes]) -> list[bytes]:
    """Returns the serialized `eval` examples of the keys, in the same order.

    Raises:
        ValueError: A key has no example.
    """
    split_dir = artifact_utils.get_split_uri(artifacts, features.EVAL_SPLIT)
    files = sorted(tf.io.gfile.glob(f"{split_dir}/*"))
    wanted = set(keys)
    found: dict[bytes, bytes] = {}
    for serialized in tf.data.TFRecordDataset(files).as_numpy_iterator():
        if len(found) == len(wanted):
            break
        example = tf.train.Example.FromString(serialized)
        key = example.features.feature[features.KEY].bytes_list.value[0]
        if key in wanted:
            found[key] = serialized
    if len(found) < len(wanted):
        raise ValueError(
            f"{len(wanted) - len(found)} of {len(wanted)} examples that the Trainer predicted "
            f"are not in {split_dir}. Run the Trainer on these examples."
        )
    return [found[key] for key in keys]


def _words(error: Exception) -> str:
    """Returns the message of a failed request, on one line."""
    if isinstance(error, grpc.RpcError):
        return f"{error.code().name}: {error.details()}"
    return f"{type(error).__name__}: {error}".splitlines()[0]
