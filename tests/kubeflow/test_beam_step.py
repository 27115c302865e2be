"""A step that sends its Beam job to Flink; tests/kubeflow/test_flink.py runs whole steps."""

import http.server
import json
import threading
import types
from pathlib import Path

import apache_beam as beam
import pytest
from kfp.pipeline_spec import pipeline_spec_pb2

from contract import stopping
from kubeflow import beam_step, entrypoint
from kubeflow.cluster import Beam, Cluster
from pipeline_def.beam import job, probe

ADDRESS = "s3://mlpipeline/v2/artifacts/cifar10-estimator/4711/StatisticsGen/0815/statistics"


@pytest.fixture
def execution(tmp_path):
    """A step's inputs, of which one is empty, and its output."""
    execution = pipeline_spec_pb2.ExecutorInput()
    for name in ("examples", "model"):
        artifact = execution.inputs.artifacts[name].artifacts.add(uri=str(tmp_path / name))
        artifact.metadata.update({"span": 3})
    examples = tmp_path / "examples/Split-train"
    examples.mkdir(parents=True)
    (examples / "shard").write_text("one")
    output = tmp_path / "statistics"
    output.mkdir()
    execution.outputs.artifacts["statistics"].artifacts.add(uri=str(output))
    execution.outputs.output_file = str(tmp_path / "output_metadata.json")
    return execution


def uri_of(side, name: str) -> Path:
    (artifact,) = side.artifacts[name].artifacts
    return Path(artifact.uri)


def test_inputs_and_outputs_pass_through_the_volume(tmp_path, execution):
    volume = tmp_path / "volume/beam/step"
    with beam_step.staged(execution, volume) as shared:
        examples = uri_of(shared.inputs, "examples")
        assert examples.is_relative_to(volume)
        assert (examples / "Split-train/shard").read_text() == "one"
        assert not uri_of(shared.inputs, "model").exists()
        assert shared.inputs.artifacts["model"].artifacts[0].metadata["span"] == 3
        assert shared.outputs.output_file == execution.outputs.output_file
        (uri_of(shared.outputs, "statistics") / "Split-eval").mkdir()
        (uri_of(shared.outputs, "statistics") / "Split-eval/stats").write_text("two")
    assert (tmp_path / "statistics/Split-eval/stats").read_text() == "two"
    assert not any(volume.parent.iterdir())


@pytest.mark.parametrize("error", [RuntimeError, stopping.StoppedError])
def test_nothing_stays_on_the_volume_after_a_failure(tmp_path, execution, error):
    volume = tmp_path / "volume/beam/step"
    with pytest.raises(error), beam_step.staged(execution, volume) as shared:
        (uri_of(shared.outputs, "statistics") / "half").write_text("of it")
        raise error(15)
    assert not any(volume.parent.iterdir())
    assert not any((tmp_path / "statistics").iterdir())


def test_what_a_killed_attempt_left_is_deleted(tmp_path, execution):
    volume = tmp_path / "volume/beam/step"
    old = volume / "outputs/statistics/0/old"
    old.mkdir(parents=True)
    with beam_step.staged(execution, volume):
        assert not old.exists()


def test_the_folder_is_named_after_run_and_step():
    assert beam_step.run_of(ADDRESS, "StatisticsGen") == "4711"
    old = "minio://mlpipeline/v2/artifacts/cifar10-estimator/4711/Evaluator/evaluation"
    assert beam_step.run_of(old, "Evaluator") == "4711"


class FlinkRest(http.server.BaseHTTPRequestHandler):
    """Answers as Flink's REST API does for one job that was left, until it is cancelled."""

    def do_GET(self) -> None:
        body = json.dumps({"jobs": self.server.jobs}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def do_PATCH(self) -> None:
        for one in self.server.jobs:
            if self.path == f"/jobs/{one['jid']}?mode=cancel":
                one["state"] = "CANCELED"
        self.send_response(202)
        self.end_headers()


@pytest.fixture
def flink():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FlinkRest)
    server.jobs = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def url_of(server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def to_flink(monkeypatch, volume: Path, flink_url: str) -> None:
    monkeypatch.setattr(probe, "CONNECT_SECONDS", 0.2)
    cluster = Cluster(
        mount_path=str(volume),
        beam=Beam(runner="flink", job_server="127.0.0.1:1", flink_url=flink_url),
    )
    for name, value in beam_step.variables("StatisticsGen", cluster).items():
        monkeypatch.setenv(name, value)


def test_jobs_of_the_same_step_that_were_left_are_cancelled(
    tmp_path, execution, flink, monkeypatch
):
    """Before the job server is asked for anything."""
    names = ("4711-StatisticsGen", "4711-Evaluator", "4711-StatisticsGen")
    flink.jobs = [
        {"jid": str(jid), "name": name, "state": state}
        for jid, (name, state) in enumerate(
            zip(names, ("RUNNING", "RUNNING", "FINISHED"), strict=True)
        )
    ]
    to_flink(monkeypatch, tmp_path / "volume", url_of(flink))
    nobody = pytest.raises(ConnectionError, match=r"No Beam job server answers at 127\.0\.0\.1")
    with nobody, beam_step.on_cluster("StatisticsGen", ADDRESS, execution):
        pytest.fail("there is nobody to do the work")
    assert [one["state"] for one in flink.jobs] == ["CANCELED", "RUNNING", "FINISHED"]
    assert not any((tmp_path / "volume/beam").iterdir())


def test_a_flink_that_does_not_answer_is_named(tmp_path, execution, monkeypatch):
    to_flink(monkeypatch, tmp_path / "volume", "http://127.0.0.1:1")
    nobody = pytest.raises(ConnectionError, match=r"^Flink's REST API does not answer at http")
    with nobody, beam_step.on_cluster("StatisticsGen", ADDRESS, execution):
        pytest.fail("there is nobody to do the work")


def test_a_job_that_does_not_end_is_named(flink, monkeypatch):
    monkeypatch.setattr(job, "CANCEL_SECONDS", 0)
    monkeypatch.setattr(FlinkRest, "do_PATCH", lambda self: self.send_error(500))
    flink.jobs = [{"jid": "c0ffee", "name": "step", "state": "RUNNING"}]
    with pytest.raises(TimeoutError, match=r"job c0ffee \(step\) does not end; cancel it at"):
        job.cancel_on_flink(url_of(flink), "step")


def test_an_interruption_stays_one_if_flink_does_not_answer(monkeypatch, caplog):
    def interrupted(*_):
        raise stopping.StoppedError(15)

    monkeypatch.setattr(beam.Pipeline, "__exit__", interrupted)
    running = job.Job([], "http://127.0.0.1:1")
    running.result = types.SimpleNamespace(cancel=lambda: None, _job_id="step_4711")
    with pytest.raises(stopping.StoppedError):
        running.__exit__(None, None, None)
    assert "The Beam job was not cancelled: Flink's REST API does not answer" in caplog.text


def test_without_the_variable_a_step_works_in_its_own_pod(execution):
    assert beam_step.variables("StatisticsGen", Cluster()) == {}
    with beam_step.on_cluster("StatisticsGen", ADDRESS, execution) as told:
        assert told == (execution, None)


def test_only_beam_steps_are_sent_to_flink():
    cluster = Cluster(beam=Beam(runner="flink"))
    assert beam_step.variables("Trainer", cluster) == {}
    assert beam_step.variables("Evaluator", cluster)


def test_a_step_that_is_stopped_says_so(monkeypatch, capsys):
    def stopped(*_):
        raise stopping.StoppedError(15)

    monkeypatch.setattr(entrypoint, "run_node", stopped)
    arguments = ["--node", "Evaluator"]
    for name in ("executor_class_path", "json_serialized_invocation_args"):
        arguments += [f"--{name}", "{}"]
    arguments += ["--json_serialized_inputs_spec_args", "{}"]
    assert entrypoint.main(arguments) == 143
    assert capsys.readouterr().err == "Error: Evaluator: Stopped by SIGTERM\n"
