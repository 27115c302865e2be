"""The real client against an API server over HTTP: its requests and its errors."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from benchmarks.emulator.object_store import free_ports
from cli.main import main
from kubeflow import submit
from tests.kubeflow import api_server

SPEC = {
    "pipelineInfo": {"name": "cifar10-estimator"},
    "root": {
        "inputDefinitions": {
            "parameters": {
                "preset": {"parameterType": "STRING"},
                "train_steps": {"parameterType": "NUMBER_INTEGER"},
            }
        }
    },
}


@pytest.fixture
def server():
    with api_server.serve() as running:
        yield running


@pytest.fixture
def compiled(tmp_path) -> Path:
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump_all([SPEC, {"platforms": {}}]))
    return path


def run_cli(*arguments: str):
    return CliRunner().invoke(main, ["kubeflow", *arguments])


def submit_cli(server, compiled, *arguments: str):
    return run_cli("submit", str(compiled), "--server", server.url, *arguments)


def details(**states: str) -> dict:
    tasks = [{"display_name": name, "state": state} for name, state in states.items()]
    return {"state": "RUNNING", "run_details": {"task_details": tasks}}


def test_a_first_submission_uploads_the_file_and_starts_a_run(server, compiled):
    result = submit_cli(server, compiled, "-p", "preset=smoke", "-p", "train_steps=20")
    assert result.exit_code == 0, result.output
    (run,) = server.runs.values()
    assert run["runtime_config"]["parameters"] == {"preset": "smoke", "train_steps": 20}
    version = server.versions[run["pipeline_version_reference"]["pipeline_version_id"]]
    assert version["content"] == compiled.read_bytes()
    assert run["run_id"] in result.output
    assert server.requests == [
        ("GET", "/apis/v2beta1/healthz"),
        ("GET", "/apis/v2beta1/pipelines/names/cifar10-estimator"),
        ("POST", "/apis/v2beta1/pipelines/upload"),
        ("GET", f"/apis/v2beta1/pipelines/{version['pipeline_id']}/versions"),
        ("POST", "/apis/v2beta1/pipelines/upload_version"),
        ("POST", "/apis/v2beta1/experiments"),
        ("POST", "/apis/v2beta1/runs"),
    ]


def test_the_same_file_is_not_uploaded_twice(server, compiled):
    for _ in range(2):
        assert submit_cli(server, compiled).exit_code == 0
    uploads = [path for _, path in server.requests if "upload" in path]
    assert len(uploads) == 2  # the pipeline, then its version; the second time nothing
    first, second = server.runs.values()
    assert first["pipeline_version_reference"] == second["pipeline_version_reference"]
    assert len(server.experiments) == 1


def test_a_changed_file_becomes_a_new_version_also_beyond_the_first_page(server, compiled):
    for number in range(2 * api_server.PAGE_SIZE):
        changed = SPEC | {"sdkVersion": str(number)}
        compiled.write_text(yaml.safe_dump_all([changed, {"platforms": {}}]))
        assert submit_cli(server, compiled).exit_code == 0
    assert len(server.pipelines) == 1
    versions = len(server.versions)
    assert submit_cli(server, compiled).exit_code == 0  # the newest is on the last page
    assert len(server.versions) == versions


def test_watching_shows_each_step_and_ends_with_the_run(server, compiled):
    server.progress = [
        details(Trainer="PENDING"),
        details(Trainer="RUNNING"),
        details(Trainer="SUCCEEDED", Pusher="RUNNING"),
        details(Trainer="SUCCEEDED", Pusher="SUCCEEDED") | {"state": "SUCCEEDED"},
    ]
    result = submit_cli(server, compiled, "--watch", "--poll-seconds", "0.01")
    assert result.exit_code == 0, result.output
    shown = [line.split()[:2] for line in result.output.splitlines() if line.startswith("  ")]
    assert shown == [
        ["Trainer", "PENDING"],
        ["Trainer", "RUNNING"],
        ["Trainer", "SUCCEEDED"],
        ["Pusher", "RUNNING"],
        ["Pusher", "SUCCEEDED"],
    ]


def test_a_failed_run_is_a_failed_command_with_its_reason(server, compiled):
    server.progress = [{"state": "FAILED", "error": {"message": "Trainer: out of memory"}}]
    result = submit_cli(server, compiled, "--watch", "--poll-seconds", "0.01")
    assert result.exit_code == 1
    assert "FAILED: Trainer: out of memory" in result.output


def test_a_watch_gives_up_in_time_and_leaves_the_run_alone(server, compiled):
    server.progress = [details(Trainer="RUNNING")]
    result = submit_cli(
        server, compiled, "--watch", "--poll-seconds", "0.01", "--timeout-minutes", "0.001"
    )
    assert result.exit_code == 1
    (run_id,) = server.runs
    assert f"cifar kubeflow terminate {run_id}" in result.output
    assert server.runs[run_id]["state"] == "RUNNING"


def test_a_run_is_terminated(server, compiled):
    submit_cli(server, compiled)
    (run_id,) = server.runs
    assert run_cli("terminate", run_id, "--server", server.url).exit_code == 0
    assert server.runs[run_id]["state"] == "CANCELING"
    assert server.requests[-1] == ("POST", f"/apis/v2beta1/runs/{run_id}:terminate")


def test_a_schedule_starts_runs_one_at_a_time(server, compiled):
    result = submit_cli(
        server, compiled, "--schedule", "0 0 3 * * *", "-p", "preset=quick", "--name", "nightly"
    )
    assert result.exit_code == 0, result.output
    (schedule,) = server.schedules.values()
    assert schedule["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * *"}}
    assert (schedule["max_concurrency"], schedule["mode"]) == ("1", "ENABLE")
    assert schedule["runtime_config"]["parameters"] == {"preset": "quick"}
    assert not server.runs


def test_a_schedule_of_one_name_is_one_schedule(server, compiled):
    def schedule(*arguments):
        result = submit_cli(server, compiled, "--schedule", "0 0 3 * * *", *arguments)
        assert result.exit_code == 0, result.output
        return result.output

    schedule("--name", "nightly")
    schedule("--name", "hourly")
    schedule("--name", "nightly", "--experiment", "other")
    first, *others = server.schedules
    said = schedule("--name", "nightly", "-p", "preset=quick")
    assert first in said
    assert first not in server.schedules and set(others) < set(server.schedules)
    newest = list(server.schedules.values())[-1]
    assert newest["runtime_config"]["parameters"] == {"preset": "quick"}
    assert len(server.schedules) == 3


def test_the_old_schedule_stays_where_the_new_one_cannot_be_made(server, compiled):
    client = submit.Client(submit.Server(url=server.url))
    pipeline, experiment = client.upload(compiled), client.find_or_make_experiment("cifar10")
    what = ("nightly", "0 0 3 * * *", pipeline, experiment, {})
    client.schedule(*what)
    server.failures = [
        (200, {"recurringRuns": list(server.schedules.values())}),
        (500, {"message": "no database"}),
    ]
    with pytest.raises(ConnectionError, match="making the schedule nightly"):
        client.schedule(*what)
    assert len(server.schedules) == 1


def test_a_schedule_of_five_fields_is_refused_before_anything_is_sent(server, compiled):
    result = submit_cli(server, compiled, "--schedule", "0 3 * * *")
    assert result.exit_code != 0
    assert "six fields" in result.output
    assert not server.requests


def test_a_token_file_is_read_anew_for_each_request(compiled, tmp_path):
    token = tmp_path / "token"
    token.write_text("old\n")
    with api_server.serve(token="old") as server:
        client = submit.Client(submit.Server(url=server.url, token_file=str(token)))
        server.token = "new"
        token.write_text("new\n")
        client.upload(compiled)
    assert {headers["authorization"] for headers in server.headers} == {
        "Bearer old",
        "Bearer new",
    }


def test_headers_and_namespace_are_passed_on(server, compiled):
    result = submit_cli(
        server, compiled, "--header", "kubeflow-userid=ada@example.org", "--namespace", "team"
    )
    assert result.exit_code == 0, result.output
    assert {headers["kubeflow-userid"] for headers in server.headers} == {"ada@example.org"}
    (experiment,) = server.experiments.values()
    assert experiment["namespace"] == "team"


def test_what_is_safe_to_repeat_is_repeated(server, compiled):
    server.failures = [(503, {"message": "starting"})] * 2
    assert submit_cli(server, compiled).exit_code == 0
    assert server.requests[:3] == [("GET", "/apis/v2beta1/healthz")] * 3


def test_starting_a_run_is_never_repeated(server, compiled):
    client = submit.Client(submit.Server(url=server.url))
    pipeline = client.upload(compiled)
    experiment = client.find_or_make_experiment("cifar10")
    server.failures = [(503, {"message": "busy"})]
    with pytest.raises(ConnectionError, match=r"503: busy"):
        client.start_run("run", pipeline, experiment, {})
    assert server.requests.count(("POST", "/apis/v2beta1/runs")) == 1


REFUSALS = {
    "no credentials": ((401, {"message": "no token"}), ["--token-file", "401: no token"]),
    "no rights": ((403, {"message": "not in team"}), ["--namespace", "403: not in team"]),
    "Kubeflow 1": ((404, {"message": "no route"}), ["Kubeflow Pipelines 2.5 or newer"]),
    "a login page": ((200, "<html>Log in</html>"), ["a web page", "login"]),
    "another web server": ((404, "<html>nginx</html>"), ["a web page", "v2beta1"]),
    "a broken server": ((500, {"message": "no database"}), ["500: no database"]),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_says_what_to_do(server, compiled, name):
    answer, expected = REFUSALS[name]
    server.failures = [answer]
    result = submit_cli(server, compiled)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    for words in (server.url, *expected):
        assert words in result.output, result.output


def test_no_server_is_said_with_the_way_to_one(compiled):
    (port,) = free_ports(1)
    result = run_cli(
        "submit", str(compiled), "--server", f"http://127.0.0.1:{port}", "--retries", "0"
    )
    assert result.exit_code == 1
    assert "kubectl port-forward" in result.output


def test_a_server_that_does_not_answer_is_left_in_time(compiled):
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        server = submit.Server(
            f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.2, retries=0
        )
        started = time.monotonic()
        with pytest.raises(ConnectionError, match="port-forward"):
            submit.Client(server)
        assert time.monotonic() - started < 5


def test_a_version_name_that_is_taken_is_said(server, compiled):
    client = submit.Client(submit.Server(url=server.url))
    pipeline_id, _ = client.upload(compiled)
    server.failures = [
        (200, {"pipeline_id": pipeline_id}),
        (200, {"pipeline_versions": []}),
        (409, {"message": "AlreadyExists"}),
    ]
    with pytest.raises(ValueError, match="already has one of that name"):
        client.upload(compiled, version="cifar10-estimator")


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [("colour=red", "expected NAME=VALUE"), ("train_steps=many", "a whole number")],
)
def test_a_wrong_parameter_is_refused_before_anything_is_sent(
    server, compiled, parameter, expected
):
    result = submit_cli(server, compiled, "-p", parameter)
    assert result.exit_code != 0
    assert expected in result.output
    assert not server.requests


def test_the_answer_can_be_read_by_a_program(server, compiled):
    result = submit_cli(server, compiled, "--json")
    assert json.loads(result.output)["run_id"] in server.runs


# Takes the API's address and a compiled file.
WITH_KFP = """
import sys
import kfp
client = kfp.Client(host=sys.argv[1])
experiment = client.create_experiment("cifar10").experiment_id
assert client.create_experiment("cifar10").experiment_id == experiment
pipeline = client.upload_pipeline(sys.argv[2], pipeline_name="cifar10-estimator").pipeline_id
assert client.get_pipeline_id("cifar10-estimator") == pipeline
version = client.upload_pipeline_version(sys.argv[2], "two", pipeline_id=pipeline)
ids = {"pipeline_id": pipeline, "version_id": version.pipeline_version_id}
client.run_pipeline(experiment, "run", params={"preset": "smoke"}, **ids)
client.run_pipeline(experiment, "of a file", pipeline_package_path=sys.argv[2])
client.create_recurring_run(
    experiment, "nightly", cron_expression="0 0 3 * * *", max_concurrency=1, no_catchup=True,
    params={"preset": "smoke"}, **ids
)
(found,) = client.list_recurring_runs(experiment_id=experiment).recurring_runs
assert found.display_name == "nightly"
"""


@pytest.mark.slow
def test_kfp_s_own_client_sends_what_ours_sends(server, tmp_path, pipeline_yaml):
    """The SDK's requirements conflict with TFX's, so it has its own environment."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "kfp"], check=True)
    python = tmp_path / "kfp/bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "kfp==2.17.0"], check=True)
    compiled = tmp_path / "pipeline.yaml"
    compiled.write_text(pipeline_yaml)
    done = subprocess.run(
        [python, "-c", WITH_KFP, server.url, str(compiled)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    theirs, of_a_file = server.runs.values()
    assert (
        of_a_file["pipeline_spec"]["pipeline_spec"]["pipelineInfo"]["name"]
        == "cifar10-estimator"
    )
    for arguments in ((), ("--schedule", "0 0 3 * * *", "--name", "ours")):
        assert submit_cli(server, compiled, "-p", "preset=smoke", *arguments).exit_code == 0
    assert without_ids(list(server.runs.values())[-1]) == without_ids(theirs)
    their_schedule, our_schedule = map(without_ids, server.schedules.values())
    assert our_schedule == their_schedule


def without_ids(body: dict) -> dict:
    """Returns a request without names and ids."""
    ids = {"run_id", "recurring_run_id", "display_name", "pipeline_version_reference"}
    return {
        # A 64-bit number in JSON is a number or a string: protobuf reads either.
        name: int(value) if name == "max_concurrency" else value
        for name, value in body.items()
        if name not in ids
    }
