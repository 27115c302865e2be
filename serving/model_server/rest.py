"""The REST protocol: URLs and statuses, without sockets."""

import dataclasses
import logging
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf import json_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.model_server import (
    example_apis,
    inference,
    json_requests,
    json_responses,
    json_text,
    tensors,
)
from serving.model_server.grpc_service import status_response
from serving.model_server.manager import ModelManager
from serving.model_server.metrics import Metrics
from serving.model_server.request_log import RequestLog
from serving.model_server.servable import DEFAULT_SIGNATURE
from serving.model_server.status import (
    MAX_REST_MESSAGE,
    Code,
    ServingError,
    cut,
    invalid,
    to_serving_error,
)

_OURS = re.compile(r"/v1/.*", re.IGNORECASE | re.DOTALL)
_VERSION = r"(?:(?:/versions/([0-9]+))|(?:/labels/([^/:]+)))?"
_INFERENCE = re.compile(
    rf"/v1/models/([^/:]+){_VERSION}:(classify|regress|predict)", re.IGNORECASE
)
_MODEL = re.compile(rf"/v1/models(?:/([^/:]+))?{_VERSION}(?:/(metadata))?", re.IGNORECASE)
_WEB_ORIGIN = re.compile(r"https?://")
_PROTO_JSON: dict[str, Any] = {
    "including_default_value_fields": True,
    "preserving_proto_field_name": True,
}
MAX_VERSION_DIGITS = 19

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Reply:
    """A response: status, body and content type."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"


class RestApi:
    """Answers REST requests."""

    def __init__(
        self,
        manager: ModelManager,
        metrics: Metrics,
        request_log: RequestLog,
        metrics_path: str | None,
        timeout_seconds: float | None,
    ) -> None:
        """Serves the manager's models, and the metrics if they have a path."""
        self._manager = manager
        self._metrics = metrics
        self._request_log = request_log
        self._metrics_path = metrics_path
        self._timeout_seconds = timeout_seconds

    def answer(self, method: str, path: str, body: bytes, origin: str = "") -> Reply:
        """Returns the reply to a request.

        Args:
            method: GET, POST and so on.
            path: The request's target, with its query.
            body: Decompressed.
            origin: The Origin header.
        """
        if self._metrics_path and path.partition("?")[0] == self._metrics_path:
            return self._metrics_page(path)
        if not _OURS.fullmatch(path):
            return Reply(404, _NOT_FOUND_PAGE, "text/html")
        if method == "OPTIONS":
            # A browser's CORS preflight request.
            return Reply(200 if _WEB_ORIGIN.search(origin) else 400)
        try:
            text = self._answer(method, path, body)
        except RecursionError:
            return error_reply(invalid("JSON Parse error: It is nested too deeply."))
        except Exception as error:
            return error_reply(to_serving_error(error))
        return Reply(200, text.encode("utf-8", "surrogateescape"))

    def _metrics_page(self, path: str) -> Reply:
        if path != self._metrics_path:
            text = f"Unexpected path: {path}. Should be {self._metrics_path}"
            return Reply(400, text.encode(), "text/plain")
        return Reply(200, self._metrics.page().encode(), "text/plain")

    def _answer(self, method: str, path: str, body: bytes) -> str:
        if method == "POST" and (match := _INFERENCE.fullmatch(path)):
            name, version, label, api = match.groups()
            if api != api.lower():
                raise invalid(f"Malformed request: {method} {path}")
            spec = model_spec(name, version, label)
            with self._metrics.request(spec.name, api, "REST"):
                return self._infer(api, spec, body)
        if method == "GET" and (match := _MODEL.fullmatch(path)):
            name, version, label, subresource = match.groups()
            if not name:
                raise invalid("Missing model name in request.")
            spec = model_spec(name, version, label)
            if subresource == "metadata":
                return self._metadata(spec)
            return self._status(spec)
        raise invalid(f"Malformed request: {method} {path}")

    def _infer(self, api: str, spec: model_pb2.ModelSpec, body: bytes) -> str:
        document = json_text.parse(body)
        spec.signature_name = json_requests.signature_name(document)
        if api == "predict":
            return self._predict(spec, document)
        examples = json_requests.examples(document)
        count = example_apis.count(examples)
        with (
            self._manager.borrow(spec) as servable,
            self._metrics.runtime(spec.name, api),
        ):
            if api == "classify":
                request = classification_pb2.ClassificationRequest(
                    model_spec=spec, input=examples
                )
                response = example_apis.classify(servable, request).run(self._timeout_seconds)
                text = json_responses.classification_json(response.result)
            else:
                request = regression_pb2.RegressionRequest(model_spec=spec, input=examples)
                response = example_apis.regress(servable, request).run(self._timeout_seconds)
                text = json_responses.regression_json(response.result)
        if self._request_log.wants(spec.name):
            self._request_log.add(api, response.model_spec, request, response)
        self._metrics.examples(spec.name, count)
        return text

    def _predict(self, spec: model_pb2.ModelSpec, document: Mapping[str, Any]) -> str:
        with self._manager.borrow(spec) as servable:
            key = spec.signature_name or DEFAULT_SIGNATURE
            if key not in servable.signatures:
                raise invalid(f'Serving signature name: "{key}" not found in signature def')
            signature = servable.signatures[key]
            infos = dict(signature.inputs)  # accepts any string; a proto map only Unicode
            if not infos:
                asked_for = spec.signature_name or "DEFAULT"
                raise invalid(f"Failed to get input map for signature: {asked_for}")
            by_row = json_requests.is_row_format(document)
            if by_row:
                arrays = json_requests.tensors_of_rows(document["instances"], infos)
            else:
                arrays = json_requests.tensors_of_columns(document["inputs"], infos)
            feeds = {infos[name].name: array for name, array in arrays.items()}
            with self._metrics.runtime(spec.name, "predict"):
                outputs = inference.run_signature(
                    servable, signature, feeds, self._timeout_seconds
                )
        if self._request_log.wants(spec.name):
            answerer = inference.model_spec(servable, key)
            self._request_log.add("predict", answerer, *_as_protos(spec, key, arrays, outputs))
        write = json_responses.rows_json if by_row else json_responses.columns_json
        return write(outputs)

    def _status(self, spec: model_pb2.ModelSpec) -> str:
        response = status_response(self._manager.status(spec))
        return json_format.MessageToJson(response, **_PROTO_JSON)

    def _metadata(self, spec: model_pb2.ModelSpec) -> str:
        with self._manager.borrow(spec) as servable:
            response = inference.get_model_metadata(servable)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata[inference.SIGNATURE_DEF].Unpack(signatures)
        parts = [
            json_format.MessageToJson(part, **_PROTO_JSON)
            for part in (response.model_spec, signatures)
        ]
        return (
            f'{{\n"model_spec":{parts[0]},\n'
            f'"metadata": {{"{inference.SIGNATURE_DEF}": {parts[1]}}}\n}}\n'
        )


def _as_protos(
    spec: model_pb2.ModelSpec,
    key: str,
    inputs: Mapping[str, np.ndarray],
    outputs: Mapping[str, np.ndarray],
) -> tuple[predict_pb2.PredictRequest, predict_pb2.PredictResponse]:
    """Returns what a gRPC client would have sent and received."""
    request = predict_pb2.PredictRequest(model_spec=spec)
    response = predict_pb2.PredictResponse(model_spec=spec)
    request.model_spec.signature_name = response.model_spec.signature_name = key
    for protos, arrays in ((request.inputs, inputs), (response.outputs, outputs)):
        for name, array in arrays.items():
            protos[name].CopyFrom(tensors.to_proto(array, is_packed=True))
    return request, response


def model_spec(name: str, version: str | None, label: str | None) -> model_pb2.ModelSpec:
    """Returns the ModelSpec for the parts of a URL."""
    spec = model_pb2.ModelSpec(name=_unquoted(name))
    if version:
        # Python does not parse numbers with thousands of digits.
        if len(version.lstrip("0")) > MAX_VERSION_DIGITS or int(version) > 2**63 - 1:
            raise invalid(f"Failed to convert version: {version} to numeric.")
        spec.version.value = int(version)
    if label:
        spec.version_label = _unquoted(label)
    return spec


def error_reply(error: ServingError) -> Reply:
    """Returns the reply for an error."""
    if error.code == Code.INTERNAL:
        _log.error("A request failed inside the server: %s", error, exc_info=error)
    message = json_text.unicode(cut(error.message, MAX_REST_MESSAGE))
    return Reply(error.http_status, json_responses.error_json(message).encode())


def _unquoted(part: str) -> str:
    return urllib.parse.unquote(part, errors="replace")


_NOT_FOUND_PAGE = (
    b"<html><head><title>404 Not Found</title></head><body><h1>Not Found</h1></body></html>\n"
)
