"""PredictionService and ModelService over gRPC."""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
    status_pb2,
)

from serving.model_server import example_apis, inference
from serving.model_server.manager import ModelManager
from serving.model_server.metrics import Metrics
from serving.model_server.request_log import RequestLog
from serving.model_server.servable import Servable
from serving.model_server.served_model import Version
from serving.model_server.status import (
    Code,
    ServingError,
    cut_for_grpc,
    invalid,
    to_serving_error,
)

MAX_DEADLINE_SECONDS = 24 * 3600
MAX_BYTES_IN_LOOP = 2**18  # a larger request would delay the others while it is parsed
PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"

# Checks a request, and returns what to run.
Prepare: TypeAlias = Callable[[Servable, Any], inference.Call]

_log = logging.getLogger(__name__)


class PredictionService:
    """The five RPCs for using a model."""

    def __init__(
        self,
        manager: ModelManager,
        metrics: Metrics,
        request_log: RequestLog,
        packs_tensors: bool = False,
        is_batched: bool = False,
    ) -> None:
        """Serves the manager's models.

        Args:
            manager: Lends the models.
            metrics: Counts requests.
            request_log: Logs samples of requests.
            packs_tensors: Whether Predict answers with `tensor_content`.
            is_batched: Whether requests wait for batches without taking up threads.
        """
        self._manager = manager
        self._metrics = metrics
        self._request_log = request_log
        self._packs_tensors = packs_tensors
        self._is_batched = is_batched

    def handlers(self) -> grpc.GenericRpcHandler:
        """Returns the gRPC handlers."""
        predict = functools.partial(inference.predict, packs_tensors=self._packs_tensors)
        apis: dict[str, tuple[type[Message], Prepare]] = {
            "Classify": (classification_pb2.ClassificationRequest, example_apis.classify),
            "Regress": (regression_pb2.RegressionRequest, example_apis.regress),
            "Predict": (predict_pb2.PredictRequest, predict),
            "MultiInference": (
                inference_pb2.MultiInferenceRequest,
                example_apis.multi_inference,
            ),
        }
        methods = {
            api: handler(
                kind,
                functools.partial(self._run, api, prepare),
                functools.partial(self._run_async, api, prepare) if self._is_batched else None,
            )
            for api, (kind, prepare) in apis.items()
        }
        methods["GetModelMetadata"] = handler(
            get_model_metadata_pb2.GetModelMetadataRequest, self._metadata
        )
        return grpc.method_handlers_generic_handler(PREDICTION_SERVICE, methods)

    def _metadata(self, request: Any, context: grpc.ServicerContext) -> Message:
        spec = required_spec(request)
        inference.check_metadata_request(request)
        with self._manager.borrow(spec) as servable:
            return inference.get_model_metadata(servable)

    def _run(
        self, api: str, prepare: Prepare, request: Any, context: grpc.ServicerContext
    ) -> Message:
        with self._metrics.request(requested_spec(request).name, api, "GRPC"):
            timeout = timeout_seconds(context)
            with self._borrowed(api, request) as servable:
                response = prepare(servable, request).run(timeout)
            self._note(api, request, response)
            return response

    async def _run_async(
        self, api: str, prepare: Prepare, request: Any, context: grpc.ServicerContext
    ) -> Message:
        """Does what `_run` does, in the event loop."""
        with self._metrics.request(requested_spec(request).name, api, "GRPC"):
            timeout = timeout_seconds(context)
            with self._borrowed(api, request) as servable:
                response = await prepare(servable, request).run_async(timeout)
            self._note(api, request, response)
            return response

    @contextlib.contextmanager
    def _borrowed(self, api: str, request: Any) -> Iterator[Servable]:
        """Lends the requested version, and times its use."""
        spec = requested_spec(request)
        if api != "MultiInference":
            required_spec(request)
        with self._manager.borrow(spec) as servable, self._metrics.runtime(spec.name, api):
            yield servable

    def _note(self, api: str, request: Any, response: Any) -> None:
        """Counts the request's examples, and logs it if it is in the sample."""
        name = requested_spec(request).name
        if api != "Predict":
            self._metrics.examples(name, example_apis.count(request.input))
        if self._request_log.wants(name):
            self._request_log.add(api, _answerer(response), request, response)


class ModelService:
    """The two RPCs for operating models."""

    def __init__(self, manager: ModelManager, metrics: Metrics) -> None:
        """Reports and changes what the manager serves."""
        self._manager = manager
        self._metrics = metrics

    def handlers(self) -> grpc.GenericRpcHandler:
        """Returns the gRPC handlers."""
        methods = {
            "GetModelStatus": handler(get_model_status_pb2.GetModelStatusRequest, self._status),
            "HandleReloadConfigRequest": handler(
                model_management_pb2.ReloadConfigRequest, self._reload
            ),
        }
        return grpc.method_handlers_generic_handler(MODEL_SERVICE, methods)

    def _status(self, request: Any, context: grpc.ServicerContext) -> Message:
        return status_response(self._manager.status(required_spec(request)))

    def _reload(self, request: Any, context: grpc.ServicerContext) -> Message:
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest."
                " Only ModelConfigList is currently supported"
            )
        before = {name: self._metrics.total(name) for name in request.metric_names}
        self._manager.reload_config(request.config, timeout_seconds(context))
        response = model_management_pb2.ReloadConfigResponse(status=status_proto(None))
        for name, value in before.items():
            increase = self._metrics.total(name) - value
            response.metric.add(name=name, int64_value_increase=increase)
        return response


def _answerer(response: Any) -> model_pb2.ModelSpec:
    """Returns the model_spec of a response, or of its first result."""
    is_several = isinstance(response, inference_pb2.MultiInferenceResponse)
    return response.results[0].model_spec if is_several else response.model_spec


def handler(
    kind: type[Message],
    answer: Callable[[Any, grpc.ServicerContext], Message],
    answer_in_loop: Callable[[Any, grpc.ServicerContext], Awaitable[Message]] | None = None,
) -> grpc.RpcMethodHandler:
    """Returns the handler of one RPC, from bytes to bytes.

    If gRPC parsed the messages, it would report a malformed one as the server's fault.

    Args:
        kind: The class of the requests.
        answer: Runs in a thread.
        answer_in_loop: Takes the place of `answer` for small requests; must not block.
    """

    def work(body: bytes, context: grpc.ServicerContext) -> bytes:
        return answer(_parsed(kind, body), context).SerializeToString()

    async def behave(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        try:
            if answer_in_loop and len(body) <= MAX_BYTES_IN_LOOP:
                response = await answer_in_loop(_parsed(kind, body), context)
                return response.SerializeToString()
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(None, work, body, context)
        except Exception as error:
            problem = to_serving_error(error)
            if problem.code == Code.INTERNAL:
                _log.exception("A request failed inside the server")
            # Always raises; gRPC ends a handler this way.
            return await context.abort(problem.code, cut_for_grpc(problem.message))

    return grpc.unary_unary_rpc_method_handler(behave)


def _parsed(kind: type[Message], body: bytes) -> Message:
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise invalid(f"The request is not a {kind.DESCRIPTOR.full_name}.") from error


def required_spec(request: Any) -> model_pb2.ModelSpec:
    """Returns the request's model_spec; raises INVALID_ARGUMENT without one."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return request.model_spec


def requested_spec(request: Any) -> model_pb2.ModelSpec:
    """Returns the model_spec of a request or of its first task; an empty one without any."""
    if not isinstance(request, inference_pb2.MultiInferenceRequest):
        return request.model_spec
    return request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()


def timeout_seconds(context: grpc.ServicerContext) -> float | None:
    """Returns the time left until the client's deadline; None without a deadline."""
    remaining = context.time_remaining()
    if remaining is not None and remaining <= 0:
        raise ServingError(Code.DEADLINE_EXCEEDED, "Deadline Exceeded")
    # Without a deadline, gRPC reports one in the far future, too far for locks.
    return None if remaining is None or remaining > MAX_DEADLINE_SECONDS else remaining


def status_response(
    versions: list[Version],
) -> get_model_status_pb2.GetModelStatusResponse:
    """Returns the protocol's form of the versions' states."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for version in versions:
        response.model_version_status.add(
            version=version.number, state=version.state, status=status_proto(version.error)
        )
    return response


def status_proto(error: ServingError | None) -> status_pb2.StatusProto:
    """Returns the protocol's form of an outcome."""
    if error is None:
        return status_pb2.StatusProto()
    code, _ = error.code.value
    return status_pb2.StatusProto(error_code=code, error_message=error.message)
