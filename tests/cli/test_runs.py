"""The commands that look at runs, on two real runs and one that failed."""

import contextlib
import json
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import requests
from click.testing import CliRunner

from cli.main import main
from tests.finished_runs import cifar
from tests.report.browser import chromium, needs_chromium, opened


def printed(*arguments: str) -> str:
    result = subprocess.run(cifar(*arguments), capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def test_a_run_in_a_pipe_prints_plain_lines_and_nothing_of_third_parties(pushed):
    assert "\x1b" not in pushed.printed
    assert "Warning" not in pushed.printed.replace("Warning: trained on the bundled", "")
    for name in pushed.record["stages"]:
        assert re.search(rf"^  {name} +(\d+ min \d\d|\d+\.\d) s", pushed.printed, re.MULTILINE)
    assert f"Report    {pushed.output / 'report.html'}" in pushed.printed


def test_a_run_in_a_terminal_shows_its_bar_and_says_what_was_cached(refused):
    assert refused.exit_code == 3
    assert "FutureWarning" not in refused.printed
    assert re.search(r"Trainer +.*\d+/40  loss \d\.\d+  [\d,]+ images/s", refused.printed)
    assert re.search(r"CifarExampleGen +cached", refused.printed)
    assert "NOT BLESSED" in refused.printed


def test_the_log_of_a_run_is_complete(pushed):
    log = Path(pushed.record["log"]).read_text()
    assert "cifar.train: step 20 of 60" in log
    assert "tensorflow" in log


def test_runs_lists_both_oldest_first(output, pushed, refused):
    found = json.loads(printed("runs", "--json", "--output", str(output)))[:2]
    assert [run["run_id"] for run in found] == [
        pushed.record["run_id"],
        refused.record["run_id"],
    ]
    assert [run["status"] for run in found] == ["pushed", "not_blessed"]
    assert found[0]["accuracy"] == pushed.record["accuracy"]
    lines = printed("runs", "--output", str(output)).splitlines()
    assert lines[0].split()[:3] == ["run", "status", "preset"]
    assert pushed.record["pushed_version"] in lines[1]


def test_status_says_what_ran_what_is_pushed_and_that_nothing_is_served(output, refused):
    arguments = ("status", "--output", str(output), "--server", "localhost:1")
    text = printed(*arguments)
    assert refused.record["run_id"] in text
    assert re.search(r"CifarExampleGen +cached", text)
    assert "nothing answers on localhost:1" in text
    found = json.loads(printed(*arguments, "--json"))
    assert found["versions"] == [
        int(path.name) for path in (output / "serving/cifar10").glob("[0-9]*")
    ]
    assert found["is_running"] is False


@needs_chromium
def test_a_failed_run_has_a_report_of_what_there_is(pushed, tmp_path):
    names = list(pushed.record["stages"])
    before = names[: names.index("Trainer")]
    record = {
        "run_id": "2026-11-22T21-51-45",
        "status": "failed",
        "failed_stage": "Trainer",
        "error": "Training diverged: try a lower learning_rate.",
        "seconds": 12.3,
        "config": pushed.record["config"],
        "stages": {name: pushed.record["stages"][name] for name in before},
    }
    (tmp_path / "run.json").write_text(json.dumps(record))
    printed("report", str(tmp_path), "--output", str(tmp_path))
    with chromium() as browser, opened(browser, tmp_path / "report.html") as page:
        assert page.inner_text("h1") == "The run failed"
        assert page.inner_text(".error") == f"Trainer: {record['error']}"
        assert "failed" in page.inner_text(".flow li:has-text('Trainer')")
        assert "not run" in page.inner_text(".flow li:has-text('Pusher')")
        assert page.is_visible("#data")
        assert page.locator("#gate, #classes, #serving").count() == 0


@needs_chromium
def test_runs_stand_beside_each_other(output, pushed, refused, tmp_path):
    names = [pushed.record["run_id"], refused.record["run_id"], "latest"]
    page_file = tmp_path / "compare.html"
    printed("report", "--compare", *names, "--output", str(output), "--to", str(page_file))
    with chromium() as browser, opened(browser, page_file) as page:
        first, second = (finished.record["accuracy"] for finished in (pushed, refused))
        row = page.inner_text("#numbers tr:has(th:text-is('accuracy'))").split("\t")
        change = f"({100 * (second - first):+.1f} points)"
        assert row == ["accuracy", f"{first:.1%}", *2 * [f"{second:.1%} {change}"]]
        settings = page.inner_text("#settings")
        assert "train_steps" in settings
        assert "learning_rate" not in settings


def test_options_of_the_report_that_do_not_go_together_are_refused():
    for arguments in (["--all", "latest"], ["--compare", "latest"], ["1", "2"]):
        assert CliRunner().invoke(main, ["report", *arguments]).exit_code == 2


def test_a_run_that_is_not_there_is_an_error_that_names_those_that_are(output, pushed):
    command = cifar("report", "1999", "--output", str(output))
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert pushed.record["run_id"] in result.stderr


def test_board_names_each_training_after_its_run_and_says_nothing_else(output, pushed, refused):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = cifar("board", "--output", str(output), "--port", str(port))
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    names = {f"{run.record['run_id']} smoke" for run in (pushed, refused)}
    shown: set[str] = set()
    try:
        deadline = time.monotonic() + 60
        while not names <= {name.split("/")[0] for name in shown}:
            assert process.poll() is None and time.monotonic() < deadline, shown
            time.sleep(0.2)
            with contextlib.suppress(requests.ConnectionError):
                shown = set(
                    requests.get(f"http://localhost:{port}/data/runs", timeout=5).json()
                )
    finally:
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=30)
    assert printed == f"TensorBoard is at http://localhost:{port}/  Ctrl-C ends it.\n"
    assert process.returncode == 0
