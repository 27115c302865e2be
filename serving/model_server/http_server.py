"""The HTTP server in front of the REST API: connections, bodies, limits.

uvicorn reads the requests, with llhttp as its parser. It reads a whole body before a worker
gets the request, and rejects requests that a proxy could read differently (two lengths, a
length and chunks). Measured with 32 clients that send small requests, in requests per second
and µs of CPU time per request: uvicorn with httptools 3,900 and 90, uvicorn with h11 1,800 and
290, waitress 1,050 and 260 (it also walks all connections, idle ones included, each time).
"""

import asyncio
import contextlib
import logging
import os
import resource
import threading
import zlib
from collections.abc import Mapping
from concurrent import futures
from typing import Any

import uvicorn

from serving.model_server import http_connection
from serving.model_server.flags import ServerConfig
from serving.model_server.rest import Reply, RestApi, error_reply
from serving.model_server.sockets import bound_socket
from serving.model_server.status import Code, ServingError, invalid

MAX_CONNECTIONS = 8192
# The limit for all bodies that are being read, as a multiple of the largest allowed body.
MAX_BODIES = 8
LARGE_BYTES = 2**20
MAX_UNPACKING = 1032  # bytes from one byte of gzip
# A client that is still sending does not read the response yet. This is how long its data is
# read and dropped.
LINGER_SECONDS = 10
LINGER_IDLE_SECONDS = 1
# Leaves time for the model's own timeout error.
GRACE_SECONDS = 1

_CORS_HEADERS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type"),
]
# uvicorn warns about every request that is not HTTP.
logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


class HttpServer:
    """Reads requests, and answers them in a limited number of threads."""

    def __init__(self, config: ServerConfig, api: RestApi, timeout_seconds: float | None):
        """Reserves the port; `start` listens.

        Raises:
            OSError: The port is taken.
        """
        self._config = config
        self._api = api
        self._timeout_seconds = timeout_seconds
        self._workers = futures.ThreadPoolExecutor(
            config.rest_api_num_threads, thread_name_prefix="rest"
        )
        # Keeps large bodies from filling the memory and from delaying small ones.
        self._large_workers = futures.ThreadPoolExecutor(
            os.cpu_count(), thread_name_prefix="rest-large"
        )
        self._bytes_of_bodies = 0
        self._socket = bound_socket(config.host, config.rest_api_port, "rest_api_port")
        self.port: int = self._socket.getsockname()[1]
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(
                self._app,
                interface="asgi3",
                proxy_headers=False,
                http=http_connection.Connection,
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                date_header=False,
                server_header=False,
                backlog=512,
                limit_concurrency=_connection_limit(),
                timeout_keep_alive=http_connection.IDLE_SECONDS,
                timeout_graceful_shutdown=int(config.drain_seconds),
            )
        )
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def start(self) -> None:
        self._socket.listen(512)  # connections from now on are answered
        self._thread.start()

    def drain(self) -> None:
        """Stops listening, waits for open requests, and closes the connections."""
        self._uvicorn.should_exit = True
        if self._thread.is_alive():
            self._thread.join(self._config.drain_seconds + GRACE_SECONDS)
        self._socket.close()

    def _run(self) -> None:
        asyncio.run(self._uvicorn.serve(sockets=[self._socket]))

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers one request; called by uvicorn."""
        with contextlib.ExitStack() as until_answered:
            try:
                body = await self._body(scope["headers"], receive, until_answered)
                reply = await self._answer(scope, body)
            except _Refused as refused:
                await self._send(send, error_reply(refused), receive)
            except ServingError as error:
                await self._send(send, error_reply(error))
            except _Disconnected:
                return
            else:
                await self._send(send, reply)

    async def _body(
        self, headers: list[tuple[bytes, bytes]], receive: Any, until: contextlib.ExitStack
    ) -> bytes:
        limit = self._config.max_request_bytes
        if int(dict(headers).get(b"content-length", 0)) > limit:
            raise _too_large(limit)
        body = bytearray()
        until.callback(lambda: self._count(-len(body)))
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Disconnected
            body += message["body"]
            self._count(len(message["body"]))
            if len(body) > limit:
                raise _too_large(limit)
            if not message["more_body"]:
                return bytes(body)
            if self._bytes_of_bodies > MAX_BODIES * limit:
                self._count(-len(body))
                body.clear()  # makes room for the others
                raise _Refused(
                    Code.RESOURCE_EXHAUSTED,
                    "Too many large requests are being read. Try again later.",
                )

    def _count(self, more_bytes: int) -> None:
        self._bytes_of_bodies += more_bytes

    async def _answer(self, scope: Any, body: bytes) -> Reply:
        headers = dict(scope["headers"])
        is_packed = b"gzip" in headers.get(b"content-encoding", b"")
        is_large = len(body) * (MAX_UNPACKING if is_packed else 1) > LARGE_BYTES
        work = asyncio.get_running_loop().run_in_executor(
            self._large_workers if is_large else self._workers, self._work, scope, body, headers
        )
        seconds = self._timeout_seconds and self._timeout_seconds + GRACE_SECONDS
        done, _ = await asyncio.wait([work], timeout=seconds)
        if done:
            return work.result()
        work.cancel()  # if it has not started; a running step cannot be interrupted
        raise ServingError(Code.DEADLINE_EXCEEDED, "Timed out waiting for the answer")

    def _work(self, scope: Any, body: bytes, headers: Mapping[bytes, bytes]) -> Reply:
        if b"gzip" in headers.get(b"content-encoding", b""):
            try:
                body = decompressed(body, self._config.max_request_bytes)
            except ServingError as error:
                return error_reply(error)
        target = scope["raw_path"].decode("ascii")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        origin = headers.get(b"origin", b"").decode("latin-1")
        return self._api.answer(scope["method"], target, body, origin)

    async def _send(self, send: Any, reply: Reply, receive: Any = None) -> None:
        """Sends a reply; with `receive`, drops what the client is still sending."""
        headers = [
            (b"content-type", reply.content_type.encode()),
            (b"content-length", b"%d" % len(reply.body)),
        ]
        if self._config.rest_api_enable_cors_support:
            headers += _CORS_HEADERS
        if receive:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        if receive:
            await send({"type": "http.response.body", "body": reply.body, "more_body": True})
            await _linger(receive)
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "http.response.body", "body": reply.body})


class _Refused(ServingError):  # noqa: N818
    """A request whose body was not read completely."""


class _Disconnected(Exception):  # noqa: N818
    """The client has disconnected."""


async def _linger(receive: Any) -> None:
    """Drops a body until it ends, pauses or takes too long.

    Closing a connection with unread bytes resets it, and the client loses the reply.
    """

    async def drop() -> None:
        while (await asyncio.wait_for(receive(), LINGER_IDLE_SECONDS)).get("more_body"):
            pass

    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(drop(), LINGER_SECONDS)


def decompressed(body: bytes, limit: int) -> bytes:
    """Returns an unpacked gzip body; rejects one that is damaged or too large."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        result = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise invalid(f"The body is not gzip: {error}") from error
    if len(result) > limit:
        raise _too_large(limit)
    if not unpacker.eof:
        raise invalid("The gzip body is truncated")
    return result


def _too_large(limit: int) -> ServingError:
    return _Refused(
        Code.RESOURCE_EXHAUSTED,
        f"The request is larger than {limit:,} bytes (--max_request_bytes).",
        http_status=413,
    )


def _connection_limit() -> int:
    """Returns the limit of connections; those beyond it get 503."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return (
        MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, soft // 2)
    )
