"""Our workers on Beam's job service, and Beam's local workers, in other processes."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import apache_beam as beam
import grpc
import pytest
from apache_beam.portability.api import (
    beam_fn_api_pb2,
    beam_fn_api_pb2_grpc,
    endpoints_pb2,
)
from apache_beam.runners.portability import local_job_service

from pipeline_def.beam import job, probe, runner, worker_pool
from tests.pipeline_def.examples_on import generate
from tests.processes import descendants, is_worker, wait_until

TWO_PROCESSES = runner.choose("local", parallelism=2)


@pytest.fixture(scope="module")
def engine():
    """Beam's job service; it asks a worker pool of ours for workers."""
    with tempfile.TemporaryDirectory() as staging, worker_pool.serve() as pool:
        service = local_job_service.LocalJobServicer(staging)
        port = service.start_grpc_server()
        yield runner.choose(
            f"--runner=PortableRunner --job_endpoint=127.0.0.1:{port} "
            f"--environment_type=EXTERNAL --environment_config={pool.address} "
            "--experiments=disable_logging_submission_environment --job_server_timeout=600"
        )
        service.stop()


def test_a_worker_says_who_it_is_before_there_is_work(engine, tmp_path):
    (worker,) = probe.check_runner(engine, tmp_path)
    assert worker.startswith(f"{socket.gethostname()}:")
    assert worker != f"{socket.gethostname()}:{os.getpid()}"
    assert list((tmp_path / probe.FOLDER).glob("*")) == []


def test_a_worker_with_other_code_is_refused(engine, tmp_path, monkeypatch):
    here = probe.facts() | {"code": "c0ffee"}
    monkeypatch.setattr(probe, "facts", lambda: here)
    with pytest.raises(RuntimeError, match=r"^The worker .* has code \w{16}, the driver c0f"):
        probe.check_runner(engine, tmp_path)


def test_a_worker_that_does_not_see_the_output_folder_says_so(tmp_path):
    with pytest.raises(RuntimeError, match=r"does not see .*not-mounted.*Give --output a"):
        probe.answer(0, str(tmp_path / "not-mounted"), probe.facts())


def test_a_job_server_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "CONNECT_SECONDS", 0.2)
    nobody = runner.choose("flink", "127.0.0.1:1")
    with pytest.raises(ConnectionError, match=r"No Beam job server answers at 127\.0\.0\.1:1"):
        probe.check_runner(nobody, tmp_path)


def test_the_shards_have_the_bytes_of_a_local_run(engine, cifar_dir, tmp_path):
    here = generate(cifar_dir, tmp_path / "here", runner.IN_THIS_PROCESS)
    assert sum(name.startswith("Split-eval/") for name in here) == 5
    assert generate(cifar_dir, tmp_path / "there", engine) == here


def test_several_processes_of_this_machine_share_the_work(tmp_path):
    assert len(probe.check_runner(TWO_PROCESSES, tmp_path)) == 2


def test_a_worker_begins_with_everything_imported_and_knows_its_code(tmp_path):
    with job.Job(list(TWO_PROCESSES.arguments)) as one:
        _ = one | beam.Create(range(8), reshuffle=True) | beam.Map(note_modules, str(tmp_path))
    workers = list(tmp_path.iterdir())
    assert len(workers) == 2
    for each in workers:
        modules = {"components.evaluator", "tensorflow_model_analysis"}
        assert modules | {"known"} <= {*each.read_text().split()}


def note_modules(_: int, folder: str) -> None:
    """Writes what this worker had imported, and whether it knew its code, at the start."""
    with contextlib.suppress(FileExistsError), Path(folder, str(os.getpid())).open("x") as file:
        words = [*sys.modules, *["known"] * probe.facts.cache_info().currsize]
        file.write(" ".join(words))


def test_a_killed_worker_ends_a_local_job_with_a_message(tmp_path):
    killed = pytest.raises(
        RuntimeError, match=r"^A Beam worker, process \d+, ended with code -9"
    )
    with killed, job.Job(list(TWO_PROCESSES.arguments)) as one:
        _ = one | beam.Create(range(8), reshuffle=True) | beam.Map(end_itself)


def end_itself(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_an_engine_does_not_end_the_worker_of_another_with_the_same_id():
    """The TaskManagers of a machine share its pool, and each calls its first worker 1-1."""
    with worker_pool.serve() as pool, grpc.insecure_channel(pool.address) as channel:
        stub = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
        nobody = endpoints_pb2.ApiServiceDescriptor(url="127.0.0.1:1")
        for _ in range(2):
            stub.StartWorker(
                beam_fn_api_pb2.StartWorkerRequest(worker_id="1-1", provision_endpoint=nobody)
            )
        wait_until(lambda: len(workers_of_this_process()) == 2)
        stub.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id="1-1"))
        assert len(workers_of_this_process()) == 2
    wait_until(lambda: not workers_of_this_process())


def workers_of_this_process() -> list[int]:
    return [pid for pid in descendants(os.getpid()) if is_worker(pid)]


def test_a_pool_takes_no_port_that_is_taken():
    with worker_pool.serve() as pool:
        port = int(pool.address.rpartition(":")[2])
        taken = pytest.raises(OSError, match=f"Port {port} of 127.0.0.1 is taken")
        with taken, worker_pool.serve(port):
            pass


def test_the_path_of_an_output_folder_may_be_long(tmp_path):
    """Temporary files of a run are in its folder, and a socket's path has 108 characters."""
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    code = "from pipeline_def.beam import worker_pool\nwith worker_pool.serve(): pass"
    subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(folder)}, check=True
    )
    assert list(folder.iterdir()) == []
