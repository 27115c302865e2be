import dataclasses
import json

import pytest

from contract import data_gate_record, records
from contract.data_gate_record import (
    L_INFINITY,
    Comparison,
    DataGateRecord,
    Distance,
    UnfitDataError,
)
from pipeline_def.config import presets
from pipeline_def.recorder import Recorder
from report import run_report
from report.data_change import DataDrift
from report.run_record import RunRecord, StageRecord
from tests.report.test_runs import push


@pytest.fixture
def recorder(tmp_path):
    config = dataclasses.replace(presets()["smoke"], output_dir=str(tmp_path))
    return Recorder(config, [])


def kept(folder) -> RunRecord:
    return records.from_json(RunRecord, (folder / "run.json").read_text())


def test_a_run_is_on_record_as_soon_as_it_starts(recorder, tmp_path):
    record = kept(tmp_path)
    assert record.status == "running"
    assert record.run_id == recorder.run_dir.name
    assert record.log == str(recorder.run_dir / "run.log")
    assert record.settings.preset == "smoke"
    assert kept(recorder.run_dir) == record


def test_what_is_kept_is_in_both_folders_with_the_time_so_far(recorder, tmp_path):
    stages = {"Trainer": StageRecord(1.0, False)}
    recorder.keep(dataclasses.replace(recorder.record, stages=stages, seconds=1e9))
    for folder in (recorder.run_dir, tmp_path):
        assert kept(folder).stages == stages
        assert 0 <= kept(folder).seconds < 60


def test_a_record_that_cannot_be_written_is_known_all_the_same(recorder):
    (recorder.run_dir / "run.json").unlink()
    (recorder.run_dir / "run.json").mkdir()
    with pytest.raises(OSError, match=r"run\.json"):
        recorder.keep(dataclasses.replace(recorder.record, status="pushed"))
    assert recorder.record.status == "pushed"


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (ValueError("a wrong label"), "failed", "a wrong label"),
        (MemoryError(), "failed", "MemoryError"),
        (KeyboardInterrupt("Stopped by SIGTERM"), "stopped", "Stopped by SIGTERM"),
    ],
)
def test_a_run_that_ends_early_failed_or_was_stopped(recorder, error, status, text):
    recorder.end_early(error)
    assert (recorder.record.status, recorder.record.error) == (status, text)


def test_a_run_that_had_pushed_has_pushed_however_it_ends(recorder, tmp_path):
    push(tmp_path, "5", "/model/6")
    stages = {"Trainer": StageRecord(1.0, False, {"model": "/model/6"})}
    recorder.keep(dataclasses.replace(recorder.record, stages=stages, failed_stage="Pusher"))
    recorder.end_early(KeyboardInterrupt())
    record = recorder.record
    assert (record.status, record.pushed_version) == ("pushed", "5")
    assert record.error == "KeyboardInterrupt"


def test_no_record_holds_the_password_of_the_metadata(tmp_path):
    config = dataclasses.replace(
        presets()["smoke"],
        output_dir=str(tmp_path),
        metadata_url="mysql://tfx:s3cret@db/mlmd",
    )
    Recorder(config, [])
    text = (tmp_path / "run.json").read_text()
    assert json.loads(text)["config"]["metadata_url"] == "mysql://tfx:…@db/mlmd"
    assert "s3cret" not in text


def test_what_the_data_gate_measured_is_kept_and_found(recorder):
    from pipeline_def import execution

    shares = ([0.9, 0.1], [0.5, 0.5])
    limit = (0.4, 0.1, "max_label_distance")
    label = Distance("label", L_INFINITY, *limit, ["cat", "dog"], [], *shares)
    drift = Comparison("drift", "train", "train of version 7", 1200, 1000, [label])
    found = DataGateRecord([drift], ["drift: label is 0.4 away"])
    error = execution.with_findings(UnfitDataError("Not fit.", found), recorder)
    assert f"{recorder.run_dir / 'data_gate.json'} has all distances" in str(error)
    assert data_gate_record.read(run_report.findings_of(recorder.record)) == found
    drifted = DataDrift("train of version 7", {"label": (0.4, 0.1)})
    assert recorder.record.data_drift == drifted


def test_without_findings_there_is_no_folder_of_them(recorder):
    assert run_report.findings_of(recorder.record) == ""
