"""A span arrives: what the next run does, says and keeps, from the weights of the first."""

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from data_sources.dataset import SAMPLE_DIR
from pipeline_def import local_runner
from pipeline_def.config import apply_settings, find_preset
from tests.finished_runs import cifar

SETTINGS = ("warm_start=latest", "train_steps=40")


@dataclasses.dataclass(frozen=True)
class Night:
    """What a nightly run printed, and its record."""

    printed: str
    record: dict

    @property
    def examples(self) -> Path:
        return Path(self.record["stages"]["CifarExampleGen"]["outputs"]["examples"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("growing")


def run(folder: Path, exit_code: int = 0) -> Night:
    settings = [argument for setting in SETTINGS for argument in ("--set", setting)]
    places = ("--data", str(folder / "data"), "--output", str(folder / "output"))
    command = cifar("run", "--preset", "smoke", *places, "--if-changed", *settings)
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == exit_code, result.stdout + result.stderr
    return Night(
        result.stdout + result.stderr, json.loads((folder / "output/run.json").read_text())
    )


@pytest.fixture(scope="module")
def monday(folder) -> Night:
    shutil.copytree(SAMPLE_DIR, folder / "data")
    return run(folder)


@pytest.fixture(scope="module")
def tuesday(folder, monday) -> Night:
    """The next run, after a span of mirrored images arrived."""
    records = np.fromfile(SAMPLE_DIR / "data_batch_1.bin", np.uint8).reshape(-1, 3073)
    records[:, 1:] = records[:, 1:].reshape(-1, 3, 32, 32)[..., ::-1].reshape(-1, 3072)
    (folder / "data/span-1").mkdir()
    records.tofile(folder / "data/span-1/data_batch_1.bin")
    return run(folder)


@pytest.fixture(scope="module")
def wednesday(folder, tuesday) -> Night:
    """The next run, after a span of black pictures labelled "cat" arrived."""
    (folder / "data/span-2").mkdir()
    black_cats = (bytes([3]) + bytes(3072)) * 1000
    (folder / "data/span-2/data_batch_1.bin").write_bytes(black_cats)
    return run(folder, exit_code=1)


def test_the_first_run_has_nothing_to_compare_with_or_to_start_from(monday):
    assert monday.record["data_change"] is None
    assert monday.record["data_files"]["test_batch.bin"]["images"] == 200
    assert monday.record["training"]["start_version"] == ""
    assert "Data since" not in monday.printed


def test_a_run_says_what_came_and_keeps_it(monday, tuesday):
    assert tuesday.record["data_change"] == {
        "since": monday.record["run_id"],
        "came": {"span-1/data_batch_1.bin": 200},
        "left": {},
        "changed": {},
    }
    line = f"since run {monday.record['run_id']}: added: span-1 (200 images)"
    assert f"Data {line}" in tuesday.printed
    assert f"Data      {line}" in tuesday.printed


def test_a_run_says_what_drifted_and_keeps_it(monday, tuesday):
    assert monday.record["data_drift"] is None
    drift = tuesday.record["data_drift"]
    assert drift["other"] == f"train of version {monday.record['pushed_version']}"
    assert drift["distances"]["brightness"][0] < drift["distances"]["brightness"][1]
    assert f"Drift     from {drift['other']}: " in tuesday.printed


def test_only_the_span_was_converted(tuesday):
    new = {
        path.name for path in tuesday.examples.glob("Split-*/*") if path.stat().st_nlink == 1
    }
    assert new == {f"data_tfrecord-{index:05d}-of-00010" for index in range(5, 10)}


def test_training_started_from_what_was_served(monday, tuesday, folder):
    version = monday.record["pushed_version"]
    assert tuesday.record["training"]["start_version"] == version
    assert f"from the weights of version {version}" in tuesday.printed
    page = (folder / "output/report.html").read_text()
    assert f"from the weights of version {version}" in page
    lineage = subprocess.run(
        cifar("lineage", "--output", str(folder / "output")), capture_output=True, text=True
    )
    assert f"  from  weights          of version {version}" in lineage.stdout


def test_a_run_that_is_repeated_is_all_cache(tuesday, folder):
    config = dataclasses.replace(
        find_preset("smoke"), data=str(folder / "data"), output_dir=str(folder / "output")
    )
    config = apply_settings(config, SETTINGS)
    assert [s.name for s in local_runner.dry_run(config) if not s.cached] == []
    assert local_runner.find_equal(config).run_id == tuesday.record["run_id"]
    first = apply_settings(config, ["spans=0:0"])
    assert local_runner.find_equal(first) is None
    same = apply_settings(config, ["spans=last:2"])
    assert local_runner.find_equal(same).run_id == tuesday.record["run_id"]


def test_what_the_data_gate_measured_outlives_the_run_it_stopped(tuesday, wednesday):
    record = wednesday.record
    assert (record["status"], record["failed_stage"]) == ("failed", "ExampleValidator")
    assert record["data_drift"]["distances"]["label"][0] > 0.1
    folder = Path(record["log"]).parent
    measured = json.loads((folder / "data_gate.json").read_text())
    assert [one["kind"] for one in measured["comparisons"]] == ["skew", "drift"]
    assert f"{folder / 'data_gate.json'} has all distances" in record["error"]
    assert str(folder / "data_gate.json") in wednesday.printed.replace("\n", " ")
    page = (folder / "report.html").read_text()
    assert "Above the limit: " in page
    assert f"of train of version {tuesday.record['pushed_version']}" in page
