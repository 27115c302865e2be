"""ML Metadata's gRPC service over its real C++ store, which the Python package contains."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import ml_metadata
from ml_metadata.metadata_store.pywrap.metadata_store_extension import metadata_store
from ml_metadata.proto import metadata_store_pb2, metadata_store_service_pb2

SERVICE = metadata_store_service_pb2.DESCRIPTOR.services_by_name["MetadataStoreService"]
CODES = {code.value[0]: code for code in grpc.StatusCode}


@contextlib.contextmanager
def serve(database: Path) -> Iterator[str]:
    """Serves a SQLite database; yields the address."""
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(database)
    store = metadata_store.CreateMetadataStore(
        config.SerializeToString(),
        metadata_store_pb2.MigrationOptions().SerializeToString(),
    )
    lock = threading.Lock()
    handlers = {
        method.name: grpc.unary_unary_rpc_method_handler(
            _handler(getattr(metadata_store, method.name), store, lock)
        )
        for method in SERVICE.methods
        if hasattr(metadata_store, method.name)
    }
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(SERVICE.full_name, handlers)]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def connect(address: str) -> ml_metadata.MetadataStore:
    """Returns a client of the service."""
    host, port = address.split(":")
    return ml_metadata.MetadataStore(
        metadata_store_pb2.MetadataStoreClientConfig(host=host, port=int(port))
    )


def _handler(
    method: Callable[..., Any], store: Any, lock: threading.Lock
) -> Callable[..., Any]:
    """Returns a method of the service: bytes in, bytes out."""

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        with lock:
            response, message, code = method(store, request)
        if code:
            context.abort(CODES[code], message.decode())
        return bytes(response)

    return answer
