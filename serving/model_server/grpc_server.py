"""The gRPC server in front of the services: ports, TLS, health, reflection.

An event loop takes the requests and sends the answers; a pool of threads runs what blocks.
gRPC's other server gives each request a thread, which has to get Python's lock four times. With
32 clients that send single images it needs a fifth more CPU time per request.
"""

import asyncio
import collections
import threading
from collections.abc import Coroutine, Iterable
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2

from serving.model_server import protos
from serving.model_server.config import read_text_file
from serving.model_server.flags import ServerConfig
from serving.model_server.sockets import bound_socket

# The services that reflection can describe.
_DESCRIBED = [
    service.full_name
    for module in (prediction_service_pb2, model_service_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
]
# Each may hold a request of --max_request_bytes. Those beyond get RESOURCE_EXHAUSTED; the C++
# server refuses as soon as all of --grpc_max_threads are busy.
MAX_RPCS = 256
MESSAGE_SECONDS = 60  # within which a call's message must arrive
_UNCOMPRESSED = 1  # the bit of the algorithm “identity”
_GRPC_S_OWN = "/grpc."  # the methods for health and reflection
# The names under which the C++ server reports its health.
HEALTH_SERVICES = ("", "ModelService", "PredictionService")


class GrpcServer:
    """Reserves its port at once, and opens it in `start`."""

    def __init__(self, config: ServerConfig) -> None:
        """Reads the certificates.

        Raises:
            OSError: The port is taken, or a file cannot be read.
            ValueError: A file cannot be parsed.
        """
        self._config = config
        self._credentials = _credentials(config.ssl_config_file)
        self._reserved = bound_socket(config.host, config.port, "port")
        self.port: int = self._reserved.getsockname()[1]
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="grpc", daemon=True)
        self._thread.start()

    def start(self, services: Iterable[grpc.GenericRpcHandler]) -> None:
        """Answers requests with these services."""
        self._wait_for(self._start(tuple(services)))
        self._reserved.close()

    def drain(self) -> None:
        """Rejects new requests and waits for open ones, up to `drain_seconds`."""
        if self._server:
            self._wait_for(self._stop(self._server))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        pool = futures.ThreadPoolExecutor(
            self._config.grpc_max_threads, thread_name_prefix="grpc"
        )
        self._loop.set_default_executor(pool)
        self._loop.run_forever()

    def _wait_for(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _start(self, services: tuple[grpc.GenericRpcHandler, ...]) -> None:
        config = self._config
        server = grpc.aio.server(
            interceptors=[_RpcLimit(max(MAX_RPCS, config.grpc_max_threads))],
            options=[
                ("grpc.max_receive_message_length", config.max_request_bytes),
                # gRPC unpacks a whole message, however large, before it looks at the limit.
                ("grpc.compression_enabled_algorithms_bitset", _UNCOMPRESSED),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
                *_channel_arguments(config.grpc_channel_arguments),
            ],
        )
        server.add_generic_rpc_handlers(services)
        known = [*_DESCRIBED, reflection.SERVICE_NAME]
        if config.enable_grpc_healthcheck_service:
            for service in HEALTH_SERVICES:
                await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
            health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
            known.append(health.SERVICE_NAME)
        reflection.enable_server_reflection(known, server)
        host = config.host
        self._listen(server, f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}")
        if config.grpc_socket_path:
            self._listen(server, f"unix:{config.grpc_socket_path}")
        await server.start()
        self._server = server

    async def _stop(self, server: grpc.aio.Server) -> None:
        await self._health.enter_graceful_shutdown()
        await server.stop(self._config.drain_seconds)

    def _listen(self, server: grpc.aio.Server, address: str) -> None:
        try:
            if self._credentials:
                server.add_secure_port(address, self._credentials)
            else:
                server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"Cannot listen on {address}: {error}") from error


class _RpcLimit(grpc.aio.ServerInterceptor):
    """Refuses calls beyond a number before their messages are read, and ends idle ones.

    The methods for health and reflection count each for itself: neither a client that watches
    nor busy models make the server look ill.

    gRPC's own limit, `maximum_concurrent_rpcs`, grows with each call that it has refused.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: collections.Counter[str] = collections.Counter()

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        method = handler_call_details.method
        group = method if method.startswith(_GRPC_S_OWN) else ""
        if self._open[group] >= self._limit:
            # A handler of streams runs at once; others wait for the whole message.
            return grpc.stream_stream_rpc_method_handler(self._refuse)
        self._open[group] += 1
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task  # gRPC runs each call in a task of its own
        task.add_done_callback(lambda _: self._open.subtract([group]))
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler

        async def answer(requests: Any, context: Any) -> Any:
            # Cheaper than asyncio.wait_for, which starts another task.
            timer = loop.call_later(MESSAGE_SECONDS, task.cancel)
            try:
                request = await context.read()
            except asyncio.CancelledError:
                if loop.time() < timer.when():  # the client left
                    raise
                late = f"No message within {MESSAGE_SECONDS} s."
                await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, late)
            finally:
                timer.cancel()
            if request is grpc.aio.EOF:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "No message.")
            return await handler.unary_unary(request, context)

        # On the wire a stream of one message is the same.
        return grpc.stream_unary_rpc_method_handler(
            answer, handler.request_deserializer, handler.response_serializer
        )

    async def _refuse(self, requests: Any, context: grpc.aio.ServicerContext) -> None:
        await context.abort(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"{self._limit} calls are open, and no more are accepted. Try again later.",
        )


def _credentials(ssl_config_file: str) -> grpc.ServerCredentials | None:
    """Returns the certificates from an SSLConfig file; None without one."""
    if not ssl_config_file:
        return None
    ssl = read_text_file(Path(ssl_config_file), protos.SSLConfig())
    if not (ssl.server_key and ssl.server_cert):
        raise ValueError(f"{ssl_config_file} needs a server_key and a server_cert in PEM.")
    if ssl.client_verify and not ssl.custom_ca:
        raise ValueError(f"{ssl_config_file}: client_verify needs a custom_ca.")
    return grpc.ssl_server_credentials(
        [(ssl.server_key.encode(), ssl.server_cert.encode())],
        root_certificates=ssl.custom_ca.encode() or None,
        require_client_auth=ssl.client_verify,
    )


def _channel_arguments(text: str) -> list[tuple[str, int | str]]:
    arguments: list[tuple[str, int | str]] = []
    for pair in filter(None, text.split(",")):
        key, _, value = pair.partition("=")
        is_number = value.lstrip("-").isdigit()
        arguments.append((key, int(value) if is_number else value))
    return arguments
