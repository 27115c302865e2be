"""The page for whoever is on call: its commands, run in its order on two real runs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import requests

from data_sources.dataset import SAMPLE_DIR
from pipeline_def.code_version import ROOT
from serving.model_server.process import ServerProcess
from tests.finished_runs import cifar, smoke_run
from tests.serving.test_client import encoded

PAGE = (ROOT / "docs/operating.md").read_text()
GOOD, BAD = "1795386836", "1795402435"  # the versions on the page
BAD_SETTINGS = ("--set", "train_steps=40")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


class Operated:
    """An output folder with a version of a good model and one of a bad model, served."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "output"
        for settings in ((), BAD_SETTINGS):
            self.run(*settings)
        self.good, self.bad = [version["version"] for version in self.versions()]

    def run(self, *settings: str, exit_code: int = 0) -> dict:
        command = smoke_run(self.output, *settings)
        result = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert result.returncode == exit_code, result.stdout + result.stderr
        return json.loads((self.output / "run.json").read_text())

    def versions(self) -> list[dict]:
        printed = subprocess.run(
            cifar("versions", "--json", "--output", str(self.output)),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        return json.loads(printed)

    def states(self) -> dict[int, str]:
        return {version["version"]: version["state"] for version in self.versions()}

    def do(self, block: str) -> str:
        """Runs the commands of a block of the page in this folder; returns what they print."""
        block = block.replace(GOOD, str(self.good)).replace(BAD, str(self.bad))
        same_run = ["run", "--preset", "smoke", "--data", "sample", *BAD_SETTINGS]
        block = block.replace("cifar run", f"cifar {' '.join(same_run)}")
        program = "from cli.main import main; main()"
        function = f'cifar() {{ "{sys.executable}" -c "{program}" "$@"; }}\n'
        result = subprocess.run(
            ["bash", "-e", "-c", function + block],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout


@pytest.fixture(scope="module")
def operated(tmp_path_factory) -> Operated:
    return Operated(tmp_path_factory.mktemp("operated"))


def log_requests(operated: Operated) -> None:
    """Asks a server with the page's config for the classes of the sample's eval images."""
    (config,) = blocks("textproto")
    config = config.replace("/srv/cifar", str(operated.folder)).replace("rate: 0.01", "rate: 1")
    (operated.folder / "models.config").write_text(config)
    rows = np.fromfile(SAMPLE_DIR / "test_batch.bin", np.uint8).reshape(-1, 3073)
    images = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    with ServerProcess(f"--model_config_file={operated.folder / 'models.config'}") as server:
        url = f"{server.rest_url}/v1/models/cifar10:predict"
        assert requests.post(url, json={"instances": images.tolist()}, timeout=60).ok


def test_the_page_is_true_from_top_to_bottom(operated):
    listing, rollback, undo, pin, drift, every_day, predict, warm_start, clean = blocks("sh")
    good, bad = operated.good, operated.bad

    assert f"{good}  kept" in operated.do(listing)
    assert f"cifar rollback --release {bad}" in operated.do(rollback)
    restored = max(operated.states())
    assert operated.states() == {good: "kept", bad: "quarantined", restored: "served"}

    refused = operated.run(*BAD_SETTINGS, exit_code=3)
    assert (refused["status"], refused["blessed"]) == ("not_blessed", True)
    assert f"is version {bad}, which is in quarantine" in refused["push_refusal"]
    assert max(operated.states()) == restored

    operated.do(undo)
    again = max(operated.states())
    assert operated.states() == {good: "kept", bad: "kept", restored: "kept", again: "served"}
    lineage = subprocess.run(
        cifar("lineage", str(again), "--json", "--output", str(operated.output)),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    stages = [execution["stage"] for execution in json.loads(lineage)["executions"]]
    assert stages[0] == "Rollback" and "CifarExampleGen" in stages

    assert f"cifar versions unpin {good}" in operated.do(pin)
    log_requests(operated)
    # The model of a smoke run often answers with the same class.
    table = operated.do(f"{drift.strip()} || test $? -eq 3")
    assert re.search(r"^Requests +1 with 200 images in 1 file$", table, re.MULTILINE), table
    assert re.search(r"^brightness +0\.0\d\d  0\.100  ok ", table, re.MULTILINE), table
    assert (operated.output / "drift.html").is_file()

    assert operated.do(every_day).startswith("Nothing changed since the run")
    assert not (operated.folder / "last-run.json").exists()

    inbox = operated.folder / "inbox"
    inbox.mkdir()
    for name in ("a.png", "b.png"):
        (inbox / name).write_bytes(encoded((20, 20, 240), (90, 50), "PNG"))
    printed = operated.do(predict)
    (folder,) = re.findall(rf"^Predicted 2 images of {inbox}: (.*)$", printed, re.MULTILINE)
    assert [*Path(folder).glob("predictions-*.parquet")]
    planned = operated.do(predict.replace("cifar run", "cifar run --dry-run"))
    assert re.search(r"^  BulkInferrer +cached", planned, re.MULTILINE), planned
    (inbox / "c.png").write_bytes((inbox / "a.png").read_bytes())
    planned = operated.do(predict.replace("cifar run", "cifar run --dry-run"))
    assert re.search(r"^  BulkInferrer +runs", planned, re.MULTILINE), planned

    assert f"from the weights of version {again}" in operated.do(warm_start)

    would_delete, nothing = operated.do(clean).splitlines()
    assert would_delete.startswith("Would delete") and nothing.startswith("Nothing to delete")


def test_a_kept_run_is_all_cache_after_a_clean_up_and_others_keep_their_record(operated):
    operated.run("--set", "min_accuracy=0.01", "--set", "keep_runs=1")
    records = [
        json.loads(path.read_text()) for path in sorted(operated.output.glob("runs/*/run.json"))
    ]
    cleaned = [record["is_cleaned"] for record in records]
    assert cleaned[-1] is False and True in cleaned
    printed = subprocess.run(
        cifar(
            "report", records[cleaned.index(True)]["run_id"], "--output", str(operated.output)
        ),
        capture_output=True,
        text=True,
    )
    assert printed.returncode == 0, printed.stderr
    again = operated.run("--set", "min_accuracy=0.01", "--set", "keep_runs=1")
    assert [name for name, stage in again["stages"].items() if not stage["cached"]] == []


def test_the_units_are_valid(tmp_path):
    sections = [re.findall(r"^\[(\w+)\]$", unit, re.MULTILINE) for unit in blocks("ini")]
    assert sections == [["Unit", "Service"], ["Unit", "Timer", "Install"]]
    if not shutil.which("systemd-analyze"):  # as in a container
        return
    program = tmp_path / "cifar/.venv/bin/cifar"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name, text in zip(("cifar.service", "cifar.timer"), blocks("ini"), strict=True):
        (tmp_path / name).write_text(text.replace("/srv", str(tmp_path)))
    command = [
        "systemd-analyze",
        "verify",
        tmp_path / "cifar.service",
        tmp_path / "cifar.timer",
    ]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_cron_and_systemd_start_the_same_run():
    (cron,) = blocks("cron")
    assert re.match(r"0 3 \* \* \* cd /srv/cifar && ", cron)
    (service,) = re.findall(r"^ExecStart=/srv/cifar/(.*)$", PAGE, re.MULTILINE)
    assert service.replace("/srv/cifar", ".") in cron
