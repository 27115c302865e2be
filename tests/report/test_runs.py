"""The records of runs: in order, whole, and true of runs that were killed."""

import dataclasses
import datetime
import json
import logging

import filelock
import pytest

from contract.serving_report import ServingReport
from contract.training_record import Evaluation, TrainingRecord
from report import runs
from report.facts import Gate
from report.run_record import PUSHED, RunRecord, StageRecord, Status


def keep(output, number: int, status: Status = PUSHED, **fields) -> RunRecord:
    run_id = f"2026-01-01T00-00-{number:02d}"
    config = {"output_dir": str(output), "serving_dir": "", "model_name": "cifar10"}
    record = RunRecord(run_id, status, config, **fields)
    (output / "runs" / run_id).mkdir(parents=True)
    runs.write(record, output / "runs" / run_id / "run.json")
    return record


def push(output, version: str, model_uri: str) -> None:
    folder = output / "serving/cifar10" / version
    (folder / "assets.extra").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    provenance = {
        "training_fingerprint": "f", "model_artifact_id": 6, "model_artifact_uri": model_uri
    }  # fmt: skip
    (folder / "assets.extra/pushed.json").write_text(json.dumps(provenance))


TRAINED = {"Trainer": StageRecord(1.0, False, {"model": "/model/6"})}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"run_id": "x"}'])
def test_a_record_that_cannot_be_read_is_left_out_and_named(tmp_path, caplog, content):
    whole = [keep(tmp_path, 1), keep(tmp_path, 3)]
    broken = tmp_path / "runs/2026-01-01T00-00-02/run.json"
    broken.parent.mkdir()
    broken.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert runs.read_runs(tmp_path) == whole
        assert runs.find_run(tmp_path, "latest") == whole[-1]
        assert runs.record_killed(tmp_path) == whole
    assert str(broken) in caplog.text


def test_a_clock_that_is_set_back_does_not_change_the_order(tmp_path):
    noon = datetime.datetime(2026, 1, 1, 12)
    clock = [noon, noon, noon - datetime.timedelta(hours=1), noon + datetime.timedelta(hours=1)]
    names = [runs.new_run_dir(tmp_path, now).name for now in clock]
    assert names == [
        "2026-01-01T12-00-00",
        "2026-01-01T12-00-01",  # the same second
        "2026-01-01T12-00-02",  # an hour back
        "2026-01-01T13-00-00",
    ]


def test_a_run_whose_process_is_gone_was_killed(tmp_path):
    keep(tmp_path, 1)
    keep(tmp_path, 2, status="running", stages=TRAINED, failed_stage="Evaluator")
    push(tmp_path, "5", "/model/6")  # by an earlier run
    assert [run.status for run in runs.read_runs(tmp_path)] == ["pushed", "killed"]
    with filelock.FileLock(tmp_path / ".lock"):
        assert [run.status for run in runs.read_runs(tmp_path)] == ["pushed", "running"]


def test_a_run_killed_just_after_its_push_has_pushed(tmp_path):
    keep(tmp_path, 1, status="running", stages=TRAINED, failed_stage="Pusher")
    push(tmp_path, "5", "/model/6")
    push(tmp_path, "7", "/model/8")
    (run,) = runs.read_runs(tmp_path)
    version = tmp_path / "serving/cifar10/5"
    assert (run.status, run.pushed_path) == ("pushed", str(version))
    assert runs.find_run(tmp_path, "5") == run


def test_a_version_an_earlier_run_pushed_is_not_a_killed_runs(tmp_path):
    keep(tmp_path, 1, stages=TRAINED, pushed_version="5")
    keep(tmp_path, 2, status="running", stages=TRAINED, failed_stage="Pusher")
    push(tmp_path, "5", "/model/6")
    assert [run.status for run in runs.read_runs(tmp_path)] == ["pushed", "killed"]


def test_the_next_run_writes_down_what_became_of_a_killed_one(tmp_path):
    killed = keep(tmp_path, 1, status="running", failed_stage="Trainer")
    (tmp_path / "runs/2026-01-01T00-00-01/.run.json.partial").write_text("{")
    assert runs.record_killed(tmp_path) == [dataclasses.replace(killed, status="killed")]
    folder = tmp_path / "runs/2026-01-01T00-00-01"
    assert json.loads((folder / "run.json").read_text())["status"] == "killed"
    assert [path.name for path in folder.iterdir()] == ["run.json"]


def test_what_is_written_is_read(tmp_path):
    record = keep(
        tmp_path,
        1,
        stages=TRAINED,
        accuracy=0.5,
        class_accuracy={"cat": 0.25},
        gate=Gate(0.4, 0.01, refusals=["too bad"], verdict="NOT BLESSED: too bad"),
        serving_check=ServingReport("blessed: fine", examples=200),
        training=TrainingRecord(steps=60, evaluations=(Evaluation(60, 0.5, 2.0),)),
    )
    assert runs.read_runs(tmp_path) == [record]
