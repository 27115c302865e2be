"""What `cifar status` says, on folders written by hand and servers of a few lines."""

import dataclasses
import http.server
import json
import threading
from contextlib import contextmanager

import filelock
import pytest

from report import overview, runs
from report.overview import Overview, ServedVersion
from report.run_record import StageRecord
from tests.report.test_runs import keep, push

NOBODY = "127.0.0.1:1"  # refuses connections


@contextmanager
def answering(status: int, body: bytes):
    """Yields the `HOST:PORT` of a server that gives one answer to all."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body if self.path == "/v1/models/cifar10" else b"another model")

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def state(version: str, name: str) -> dict:
    return {"version": version, "state": name, "status": {"error_code": "OK"}}


SERVED = json.dumps({"model_version_status": [state("7", "AVAILABLE"), state("5", "END")]})


def test_an_empty_folder_says_how_to_begin(tmp_path):
    found = overview.read_overview(tmp_path, "cifar10", NOBODY)
    assert found == Overview(str(tmp_path), False, None, [], NOBODY, None)
    assert overview.as_lines(found) == [
        f"There are no runs in {tmp_path}; `cifar run` makes one.",
        "",
        "Pushed   nothing",
        f"Served   nothing answers on {NOBODY}; `cifar serve` starts a server",
    ]


def test_the_newest_run_is_told_stage_by_stage(tmp_path):
    keep(tmp_path, 1)
    stages = {
        "CifarExampleGen": StageRecord(0.2, True),
        "Transform": StageRecord(4.12, False),
    }
    run = keep(tmp_path, 2, "failed", stages=stages, failed_stage="Trainer", seconds=75.0)
    found = overview.read_overview(tmp_path, "cifar10", NOBODY)
    lines = overview.as_lines(found)
    assert lines[0].startswith(f"{run.run_id}  failed ")
    assert "1 min 15 s  1 of 2 stages cached" in lines[0]
    assert lines[2:4] == [
        "  CifarExampleGen    cached",
        "  Transform          done          4.1 s",
    ]
    assert "  Trainer            failed" in lines
    assert "  Pusher             not run" in lines


def test_pushed_versions_are_those_of_the_folder_the_run_pushes_to(tmp_path):
    keep(tmp_path, 1)
    push(tmp_path, "20", "/model/6")
    push(tmp_path, "5", "/model/4")
    found = overview.read_overview(tmp_path, "cifar10", NOBODY)
    assert found.versions == [5, 20]
    assert "Pushed   5, 20" in overview.as_lines(found)


def test_a_run_that_holds_the_folder_is_running(tmp_path):
    with filelock.FileLock(tmp_path / ".lock"):
        found = overview.read_overview(tmp_path, "cifar10", NOBODY)
    assert found.is_running
    assert "A run is writing to this folder now." in overview.as_lines(found)


@pytest.mark.parametrize(
    ("status", "body", "served", "said"),
    [
        (
            200,
            SERVED.encode(),
            [ServedVersion("7", "AVAILABLE"), ServedVersion("5", "END")],
            "Served   7 AVAILABLE, 5 END on {}",
        ),
        (404, b'{"error": "none"}', [], "Served   the server on {} does not know this model"),
        (200, b"<html>", None, "Served   nothing answers on {}; `cifar serve` starts a server"),
        (200, b"{}", None, "Served   nothing answers on {}; `cifar serve` starts a server"),
    ],
    ids=["server of the model", "server of others", "web server", "other API"],
)
def test_a_server_is_asked_what_it_serves(status, body, served, said, tmp_path):
    with answering(status, body) as server:
        found = overview.read_overview(tmp_path, "cifar10", server)
    assert found.served == served
    assert overview.as_lines(found)[-1] == said.format(server)


def listed(output, width=None):
    return overview.run_lines([runs.summary(run) for run in runs.read_runs(output)], width)


@pytest.fixture
def three_runs(tmp_path):
    """One whose version was retired, one not blessed, one whose version is served."""
    config = {"output_dir": str(tmp_path), "preset": "reference", "train_steps": 100_000}
    serving = tmp_path / "serving/cifar10"
    stages = {"Trainer": StageRecord(1.0, False), "Pusher": StageRecord(1.0, True)}
    for number, status, version, accuracy in (
        (1, "pushed", "1795402435", 0.8018),
        (2, "not_blessed", None, None),
        (3, "pushed", "1795413998", 0.802),
    ):
        run = keep(
            tmp_path,
            number,
            status,
            stages=stages,
            pushed_version=version,
            pushed_path=version and str(serving / version),
            accuracy=accuracy,
            seconds=384.0,
        )
        record = dataclasses.replace(run, config=config)
        runs.write(record, tmp_path / "runs" / run.run_id / "run.json")
    push(tmp_path, "1795413998", "/model/6")
    return tmp_path


def test_runs_have_a_header_and_retired_versions_are_marked(three_runs):
    assert listed(three_runs) == [
        "run                  status       preset       steps  accuracy        time  cached"
        "  version",
        "2026-01-01T00-00-01  pushed       reference  100,000     80.2%  6 min 24 s  1 of 2"
        "  (1795402435)",
        "2026-01-01T00-00-02  not blessed  reference  100,000         –  6 min 24 s  1 of 2",
        "2026-01-01T00-00-03  pushed       reference  100,000     80.2%  6 min 24 s  1 of 2"
        "  1795413998",
        "",
        "(version): retired, no longer in the serving folder",
    ]


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_list_of_runs_fits_the_terminal(three_runs, width):
    header, *lines = listed(three_runs, width)
    assert max(map(len, [header, *lines])) <= width
    assert {"run", "status", "accuracy", "version"} <= set(header.split())
    assert "(1795402435)" in lines[0]
