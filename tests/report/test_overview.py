"""What `cifar status` says, on folders written by hand and servers of a few lines."""

import http.server
import json
import threading
from contextlib import contextmanager

import filelock
import pytest

from report import overview
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
    assert "1 min 15 s  1 of 2 cached" in lines[0]
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
