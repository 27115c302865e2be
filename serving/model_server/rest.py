"""The REST protocol: URLs, bodies, statuses. The values are `json_tensor`'s work."""

import dataclasses
import http.server
import json
import logging
import re
import socket
import threading
import urllib.parse
import zlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from google.protobuf import json_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    model_pb2,
    regression_pb2,
)

from serving.model_server import inference, json_tensor, json_text
from serving.model_server.flags import ServerConfig
from serving.model_server.grpc_service import status_response
from serving.model_server.manager import ModelManager
from serving.model_server.metrics import Metrics
from serving.model_server.servable import DEFAULT_SIGNATURE
from serving.model_server.status import (
    MAX_REST_MESSAGE,
    Code,
    ServingError,
    cut,
    http_status,
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
_CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}
_PROTO_JSON: dict[str, Any] = {
    "including_default_value_fields": True,
    "preserving_proto_field_name": True,
}
# A connection may be silent for so long between two requests, or two parts of one.
IDLE_SECONDS = 60
MAX_VERSION_DIGITS = 19
MAX_CONNECTIONS = 1024

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Reply:
    """What goes back: status, body and its type."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"


class RestApi:
    """Answers requests; knows nothing of sockets."""

    def __init__(
        self,
        manager: ModelManager,
        metrics: Metrics,
        metrics_path: str | None,
        timeout_seconds: float | None,
    ) -> None:
        """Takes requests for the manager's models, and for the metrics if they have a path."""
        self._manager = manager
        self._metrics = metrics
        self._metrics_path = metrics_path
        self._timeout_seconds = timeout_seconds

    def answer(self, method: str, path: str, body: bytes) -> Reply:
        """Returns the reply to a request.

        Args:
            method: GET, POST and so on.
            path: The request's target, with its query.
            body: Decompressed.
        """
        if self._metrics_path and path.partition("?")[0] == self._metrics_path:
            return Reply(200, self._metrics.page().encode(), "text/plain")
        if not _OURS.fullmatch(path):
            return Reply(404, _NOT_FOUND_PAGE, "text/html")
        try:
            text = self._answer(method, path, body)
        except RecursionError:
            return error_reply(invalid("JSON Parse error: It is nested too deeply."))
        except Exception as error:
            return error_reply(to_serving_error(error))
        return Reply(200, text.encode("utf-8", "surrogateescape"))

    def _answer(self, method: str, path: str, body: bytes) -> str:
        if method == "POST" and (match := _INFERENCE.fullmatch(path)):
            name, version, label, api = match.groups()
            spec = model_spec(name, version, label)
            with self._metrics.request(spec.name, api, "REST"):
                return self._infer(api.lower(), spec, body)
        if method == "GET" and (match := _MODEL.fullmatch(path)):
            name, version, label, subresource = match.groups()
            if not name:
                raise invalid("Missing model name in request.")
            spec = model_spec(name, version, label)
            return self._metadata(spec) if subresource else self._status(spec)
        raise invalid(f"Malformed request: {method} {path}")

    def _infer(self, api: str, spec: model_pb2.ModelSpec, body: bytes) -> str:
        document = json_text.parse(body)
        spec.signature_name = json_tensor.signature_name(document)
        if api == "predict":
            return self._predict(spec, document)
        examples = json_tensor.examples(document)
        count = inference.count(examples)
        with (
            self._manager.borrow(spec) as servable,
            self._metrics.runtime(spec.name, api),
        ):
            if api == "classify":
                request = classification_pb2.ClassificationRequest(
                    model_spec=spec, input=examples
                )
                response = inference.classify(servable, request, self._timeout_seconds)
                text = json_tensor.classification_json(response.result)
            else:
                request = regression_pb2.RegressionRequest(model_spec=spec, input=examples)
                response = inference.regress(servable, request, self._timeout_seconds)
                text = json_tensor.regression_json(response.result)
        self._metrics.examples(spec.name, count)
        return text

    def _predict(self, spec: model_pb2.ModelSpec, document: Mapping[str, Any]) -> str:
        with self._manager.borrow(spec) as servable:
            key = spec.signature_name or DEFAULT_SIGNATURE
            if key not in servable.signatures:
                raise invalid(f'Serving signature name: "{key}" not found in signature def')
            signature = servable.signatures[key]
            infos = dict(signature.inputs)  # finds any string; a proto's map only Unicode
            if not infos:
                raise invalid(f"Failed to get input map for signature: {key}")
            by_row = json_tensor.is_row_format(document)
            if by_row:
                arrays = json_tensor.tensors_of_rows(document["instances"], infos)
            else:
                arrays = json_tensor.tensors_of_columns(document["inputs"], infos)
            feeds = {infos[name].name: array for name, array in arrays.items()}
            with self._metrics.runtime(spec.name, "predict"):
                outputs = inference.run_signature(
                    servable, signature, feeds, (), self._timeout_seconds
                )
        if not outputs:
            raise invalid("Cannot convert empty tensor map to JSON")
        write = json_tensor.rows_json if by_row else json_tensor.columns_json
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


def model_spec(name: str, version: str | None, label: str | None) -> model_pb2.ModelSpec:
    """Returns who is asked, from the parts of a URL."""
    spec = model_pb2.ModelSpec(name=_unquoted(name))
    if version:
        # Python refuses to read a number of thousands of digits.
        if len(version.lstrip("0")) > MAX_VERSION_DIGITS or int(version) > 2**63 - 1:
            raise invalid(f"Failed to convert version: {version} to numeric.")
        spec.version.value = int(version)
    if label:
        spec.version_label = _unquoted(label)
    return spec


def error_reply(error: ServingError) -> Reply:
    """Returns the reply that carries an error."""
    if error.code == Code.INTERNAL:
        _log.error("A request failed inside the server: %s", error, exc_info=error)
    message = json_text.unicode(cut(error.message, MAX_REST_MESSAGE))
    text = f'{{ "error": {json.dumps(message, ensure_ascii=False)} }}'
    return Reply(http_status(error.code), text.encode())


def _unquoted(part: str) -> str:
    return urllib.parse.unquote(part, errors="replace")


class RestServer(http.server.ThreadingHTTPServer):
    """A thread for each connection; a limited number of requests at work."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, config: ServerConfig, api: RestApi) -> None:
        """Listens, but does not answer before `serve_forever`."""
        self.api = api
        self.config = config
        self.workers = threading.BoundedSemaphore(config.rest_api_num_threads)
        self.is_draining = False
        self._connections = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._open: set[socket.socket] = set()
        self._at_work = 0
        self._idle = threading.Condition()
        try:
            super().__init__((config.host, config.rest_api_port), RestHandler)
        except OSError as error:
            raise OSError(
                f"Cannot listen on {config.host}:{config.rest_api_port}: {error.strerror}. "
                "Try --rest_api_port=0."
            ) from error

    def process_request(self, request, client_address):
        """Gives the connection a thread, or refuses one too many."""
        if not self._connections.acquire(blocking=False):
            self.shutdown_request(request)
            return
        with self._idle:
            self._open.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request, client_address):
        """Serves a connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._idle:
                self._open.discard(request)
            self._connections.release()

    def handle_error(self, request, client_address):
        """Logs what is not the client's own doing."""
        _log.debug("Connection of %s ended", client_address, exc_info=True)

    def begin(self) -> None:
        """Marks a request as at work."""
        with self._idle:
            self._at_work += 1

    def end(self) -> None:
        """Marks a request as answered."""
        with self._idle:
            self._at_work -= 1
            self._idle.notify_all()

    def drain(self, seconds: float) -> None:
        """Stops listening, lets requests at work finish, and closes the connections."""
        self.is_draining = True
        self.shutdown()
        self.server_close()
        with self._idle:
            self._idle.wait_for(lambda: not self._at_work, seconds)
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # its client was faster

    def server_close(self):
        """Closes the listening socket; the threads of connections are `drain`'s work."""
        self.socket.close()


class RestHandler(http.server.BaseHTTPRequestHandler):
    """Reads requests off one connection and writes the replies."""

    server: RestServer
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True

    def _handle(self) -> None:
        self.server.begin()
        try:
            with self.server.workers:
                self._send(self._reply())
        finally:
            self.server.end()

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = _handle  # noqa: N815

    def do_OPTIONS(self) -> None:
        """Answers a browser that asks what it may send."""
        is_web = _WEB_ORIGIN.match(self.headers.get("Origin", ""))
        self._send(Reply(200 if is_web else 400))

    def _reply(self) -> Reply:
        try:
            body = self._body()
        except ServingError as error:
            self.close_connection = True
            return error_reply(error)
        return self.server.api.answer(self.command, self.path, body)

    def _body(self) -> bytes:
        limit = self.server.config.max_request_bytes
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            body = self._chunked_body(limit)
        else:
            length = self.headers.get("Content-Length", "0").strip()
            if not re.fullmatch("[0-9]+", length):
                raise invalid(f"Content-Length is no number of bytes: {length}")
            if int(length) > limit:
                raise _too_large(limit)
            body = self.rfile.read(int(length))
        if self.headers.get("Content-Encoding", "").lower() == "gzip":
            return decompressed(body, limit)
        return body

    def _chunked_body(self, limit: int) -> bytes:
        chunks, total = [], 0
        while True:
            size_text = self.rfile.readline(1024).partition(b";")[0].strip()
            if not re.fullmatch(rb"[0-9a-fA-F]{1,16}", size_text):
                raise invalid("The body's chunks have no size")
            size = int(size_text, 16)
            total += size
            if total > limit:
                raise _too_large(limit)
            if not size:
                break
            chunks.append(self.rfile.read(size))
            self.rfile.readline(1024)
        while self.rfile.readline(65536).strip():
            pass  # trailers
        return b"".join(chunks)

    def _send(self, reply: Reply) -> None:
        headers = {"Content-Type": reply.content_type, "Content-Length": len(reply.body)}
        if self.server.config.rest_api_enable_cors_support:
            headers |= _CORS_HEADERS
        if self.server.is_draining:
            self.close_connection = True
        if self.close_connection:
            headers["Connection"] = "close"
        phrase = _PHRASES.get(reply.status, "")
        head = [f"HTTP/1.1 {reply.status} {phrase}"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        body = b"" if self.command == "HEAD" else reply.body
        # One packet: two would wait for each other's acknowledgement.
        self.wfile.write("\r\n".join([*head, "", ""]).encode("latin-1") + body)

    def log_message(self, format: str, *args: object) -> None:
        """Logs at debug level: a line a request is too much."""
        _log.debug(format, *args)


def decompressed(body: bytes, limit: int) -> bytes:
    """Returns a gzip body unpacked; INVALID_ARGUMENT for a damaged or too large one."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        result = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise invalid(f"The body is no gzip: {error}") from error
    if len(result) > limit:
        raise _too_large(limit)
    if not unpacker.eof:
        raise invalid("The gzip body is truncated")
    return result


def _too_large(limit: int) -> ServingError:
    return ServingError(
        Code.RESOURCE_EXHAUSTED,
        f"The request is larger than {limit:,} bytes (--max_request_bytes).",
    )


_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_NOT_FOUND_PAGE = (
    b"<html><head><title>404 Not Found</title></head><body><h1>Not Found</h1></body></html>\n"
)
