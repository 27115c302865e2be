"""Whole runs on Prism, Beam's portable engine in Go: the same job API as Flink's and Spark's.

Prism has no second worker and no second try: see test_beam_workers.py and test_example_gen.py.
"""

import json
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest
import tensorflow_data_validation as tfdv
import tensorflow_model_analysis as tfma
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

from pipeline_def.beam import runner
from tests.finished_runs import smoke_run

PRISM = Path(__file__).parents[3] / ".cache/beam/prism"
BEAM_STAGES = ("CifarExampleGen", "StatisticsGen", "Evaluator")


@pytest.fixture(scope="module")
def prism(tmp_path_factory) -> Iterator[str]:
    """Returns HOST:PORT of a job server, and ends it with its workers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("prism") / "log").open("w")
    command = [str(PRISM), f"--job_port={port}", "--serve_http=false"]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=20)
    yield f"127.0.0.1:{port}"
    process.kill()
    process.wait()


def on(prism: str) -> list[str]:
    """Returns the options of a run on Prism: Flink's, except one that Prism lacks.

    With the default a job of more than a minute would fail (portable_runner.py).
    """
    arguments = runner.choose("flink", prism).arguments
    known = [one for one in arguments if one != "--experiments=pre_optimize=all"]
    return ["--runner", shlex.join([*known, "--job_server_timeout=600"])]


def run(output: Path, *options: str) -> dict:
    result = subprocess.run(
        smoke_run(output, *options), capture_output=True, text=True, timeout=400
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads((output / "run.json").read_text())


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> dict:
    return run(tmp_path_factory.mktemp("here") / "output")


@pytest.fixture(scope="module")
def on_prism(tmp_path_factory, prism) -> dict:
    return run(tmp_path_factory.mktemp("prism") / "output", *on(prism))


def files_of(record: dict, stage: str, output: str) -> dict[str, Path]:
    folder = Path(record["stages"][stage]["outputs"][output])
    return {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_examples_are_those_of_a_local_run(here, on_prism):
    ours, theirs = (
        {name: path.read_bytes() for name, path in files.items()}
        for files in (
            files_of(record, "CifarExampleGen", "examples") for record in (here, on_prism)
        )
    )
    assert len(ours) >= 10
    assert theirs == ours


def test_the_statistics_are_those_of_a_local_run(here, on_prism):
    for split in ("train", "eval"):
        name = f"Split-{split}/FeatureStats.pb"
        ours, theirs = (
            tfdv.load_stats_binary(
                str(files_of(record, "StatisticsGen", "statistics")[name])
            ).datasets[0]
            for record in (here, on_prism)
        )
        assert theirs.num_examples == ours.num_examples > 0
        by_path: list[dict] = [{}, {}]
        for one, found in zip((ours, theirs), by_path, strict=True):
            for feature in one.features:
                if feature.HasField("num_stats"):
                    # The last digit depends on the order in which workers' sums are added.
                    feature.num_stats.std_dev = round(feature.num_stats.std_dev, 12)
                found[str(feature.path or feature.name)] = feature
        assert by_path[1] == by_path[0]


def test_the_metrics_are_those_of_a_local_run(here, on_prism):
    ours, theirs = (
        tfma.load_eval_result(record["stages"]["Evaluator"]["outputs"]["evaluation"])
        for record in (here, on_prism)
    )
    found, wanted = (dict(map(_as_numbers, one.slicing_metrics)) for one in (theirs, ours))
    assert found.keys() == wanted.keys()
    assert len(wanted) == 11  # the whole, and each class
    for name, numbers in wanted.items():
        assert found[name] == pytest.approx(numbers, rel=1e-6), name


def _as_numbers(slice_metrics) -> tuple:
    key, metrics = slice_metrics
    return key, {
        name: value["doubleValue"]
        for name, value in metrics[""][""].items()
        if "doubleValue" in value
    }


def test_the_workers_are_processes_of_the_engine(on_prism):
    log = Path(on_prism["log"]).read_text()
    assert re.search(rf"1 answered: {socket.gethostname()}:\d+", log)


def test_what_an_engine_made_is_a_cache_hit_here(on_prism):
    record = run(Path(on_prism["config"]["output_dir"]))
    assert {name: record["stages"][name]["cached"] for name in BEAM_STAGES} == dict.fromkeys(
        BEAM_STAGES, True
    )


def test_a_job_that_the_engine_refuses_ends_the_run_in_a_line(prism, tmp_path):
    command = smoke_run(tmp_path / "output", "--runner", "flink", "--runner-url", prism)
    result = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert result.returncode == 1
    # Prism rejects stages that are already fused.
    assert "Error: The Beam job server says: found" in result.stderr
    assert "executable_stage" in result.stderr


def jobs(prism: str) -> dict[str, int]:
    """Returns the state of each job that the engine knows."""
    with grpc.insecure_channel(prism) as channel:
        stub = beam_job_api_pb2_grpc.JobServiceStub(channel)
        infos = stub.GetJobs(beam_job_api_pb2.GetJobsRequest()).job_info
        return {info.job_id: info.state for info in infos}


def workers() -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if any(word.endswith("cifar-beam-worker") for word in command):
            found.append(process)
    return found


def wait_until(holds, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def test_ctrl_c_cancels_the_job(prism, tmp_path):
    earlier = set(jobs(prism))
    process = subprocess.Popen(
        smoke_run(tmp_path / "output", *on(prism)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    # The first job asks the workers, the second is CifarExampleGen's.
    wait_until(lambda: len(set(jobs(prism)) - earlier) == 2 and workers())
    (job,) = (
        name
        for name, state in jobs(prism).items()
        if state == beam_job_api_pb2.JobState.RUNNING
    )
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert jobs(prism)[job] == beam_job_api_pb2.JobState.CANCELLED
    wait_until(lambda: not workers())
