"""Our workers on Beam's job service, and Beam's local workers, in other processes."""

import os
import socket
import tempfile

import pytest
from apache_beam.runners.portability import local_job_service

from pipeline_def.beam import probe, runner, worker_pool
from tests.pipeline_def.examples_on import generate


@pytest.fixture(scope="module")
def engine():
    """Beam's job service; it asks a worker pool of ours for workers."""
    with tempfile.TemporaryDirectory() as staging, worker_pool.serve() as pool:
        service = local_job_service.LocalJobServicer(staging)
        port = service.start_grpc_server()
        yield runner.choose(
            f"--runner=PortableRunner --job_endpoint=127.0.0.1:{port} "
            f"--environment_type=EXTERNAL --environment_config={pool} "
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
    assert len(probe.check_runner(runner.choose("local", parallelism=2), tmp_path)) == 2


def test_a_pool_takes_no_port_that_is_taken():
    with worker_pool.serve() as address:
        port = int(address.rpartition(":")[2])
        taken = pytest.raises(OSError, match=f"Port {port} of 127.0.0.1 is taken")
        with taken, worker_pool.serve(port):
            pass
