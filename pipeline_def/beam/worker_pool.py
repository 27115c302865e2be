"""A worker pool: starts a `cifar-beam-worker` when an engine on this machine requests one.

If a TaskManager cannot start our Python itself, because it is in another container of its pod,
the pool in that container does so: `--environment_type=EXTERNAL`. Beam's own pool listens on
every address, so anybody could make it run code; this one listens on loopback only.
"""

import contextlib
from collections.abc import Iterator
from concurrent import futures

import grpc
from apache_beam.portability.api import beam_fn_api_pb2_grpc
from apache_beam.runners.worker import worker_pool_main

from pipeline_def.beam.runner import WORKER_COMMAND


@contextlib.contextmanager
def serve(port: int = 0) -> Iterator[str]:
    """Yields HOST:PORT of a running pool; stops its workers at the end.

    Raises:
        OSError: The port is taken.
    """
    pool = worker_pool_main.BeamFnExternalWorkerPoolServicer(
        use_process=True, container_executable=str(WORKER_COMMAND)
    )
    # Linux would let two servers share a port.
    server = grpc.server(futures.ThreadPoolExecutor(), options=[("grpc.so_reuseport", 0)])
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    try:
        port = server.add_insecure_port(f"127.0.0.1:{port}")
    except RuntimeError as error:
        raise OSError(f"Port {port} of 127.0.0.1 is taken; choose another.") from error
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(grace=None)
        for process in list(pool._worker_processes.values()):
            worker_pool_main.kill_process_gracefully(process)
