"""A worker pool: forks a worker when an engine on this machine requests one.

A worker spends most of a small job on importing TensorFlow and TFX. So the pool's fork server
imports them once, and each worker begins as a copy of it. An engine finds the pool by
`--environment_type=EXTERNAL`; it may be in another container of the pod.

Beam's own pool listens on every address, so anybody could make it run code; this one listens on
loopback only.
"""

import contextlib
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from concurrent import futures
from multiprocessing import forkserver

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

from pipeline_def.beam import worker

PRELOADED = "pipeline_def.beam.preloaded"
END_SECONDS = 10


class Pool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Starts workers. Its fork server imports the modules when the pool is made.

    Attributes:
        address: HOST:PORT.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([PRELOADED])
        self._workers: list[multiprocessing.process.BaseProcess] = []
        self._lock = threading.Lock()
        with _usual_temporary_folder():
            forkserver.ensure_running()

    def StartWorker(  # noqa: N802
        self, request: beam_fn_api_pb2.StartWorkerRequest, context: grpc.ServicerContext
    ) -> beam_fn_api_pb2.StartWorkerResponse:
        """Starts a worker, which then asks the engine for work."""
        arguments = [
            f"--id={request.worker_id}",
            f"--provision_endpoint={request.provision_endpoint.url}",
            f"--control_endpoint={request.control_endpoint.url}",
            f"--logging_endpoint={request.logging_endpoint.url}",
        ]
        process = self._context.Process(
            target=work, args=(arguments, tempfile.gettempdir()), daemon=True
        )
        process.start()
        with self._lock:  # two engines may ask at once
            self._workers = [each for each in self._workers if each.exitcode != 0] + [process]
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(  # noqa: N802
        self, request: beam_fn_api_pb2.StopWorkerRequest, context: grpc.ServicerContext
    ) -> beam_fn_api_pb2.StopWorkerResponse:
        """Does nothing: a worker ends when its engine hangs up.

        Each TaskManager and executor counts its workers from 1-1, so the id does not tell which
        one of them is meant.
        """
        return beam_fn_api_pb2.StopWorkerResponse()

    def check(self) -> None:
        """Raises an error if a worker has ended although nobody stopped it.

        Raises:
            RuntimeError: One was killed, for example by a system without memory.
        """
        for process in self._workers:
            if code := process.exitcode:
                raise RuntimeError(
                    f"A Beam worker, process {process.pid}, ended with code {code}; -9 usually "
                    "means that the memory was full. Start again with fewer processes "
                    "(--parallelism)."
                )

    def end_workers(self) -> None:
        """Ends every worker."""
        while self._workers:
            _end(self._workers.pop())


def work(arguments: list[str], temporary_folder: str) -> None:
    """Runs bundles in a process of the pool until the engine hangs up."""
    os.environ["TMPDIR"] = temporary_folder  # of this run; that of the fork server may be gone
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which cancels
    worker.main(arguments)


@contextlib.contextmanager
def _usual_temporary_folder() -> Iterator[None]:
    """Makes temporary files go where they go without a run.

    The fork server keeps a socket there until this process ends, whose path must be short.
    """
    before = os.environ.pop("TMPDIR", None), tempfile.tempdir
    tempfile.tempdir = None
    try:
        yield
    finally:
        if before[0] is not None:
            os.environ["TMPDIR"] = before[0]
        tempfile.tempdir = before[1]


def _end(process: multiprocessing.process.BaseProcess) -> None:
    process.terminate()
    process.join(END_SECONDS)
    process.kill()
    process.join()


@contextlib.contextmanager
def serve(port: int = 0) -> Iterator[Pool]:
    """Yields a running pool; stops its workers at the end.

    Raises:
        OSError: The port is taken.
    """
    # Linux would let two servers share a port.
    server = grpc.server(futures.ThreadPoolExecutor(), options=[("grpc.so_reuseport", 0)])
    try:
        port = server.add_insecure_port(f"127.0.0.1:{port}")
    except RuntimeError as error:
        raise OSError(f"Port {port} of 127.0.0.1 is taken; choose another.") from error
    pool = Pool(f"127.0.0.1:{port}")
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    server.start()
    try:
        yield pool
    finally:
        server.stop(grace=None)
        pool.end_workers()
