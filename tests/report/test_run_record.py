import json

from contract import records
from report.run_record import RunRecord, StageRecord


def test_a_record_of_another_version_of_the_code_is_read():
    text = json.dumps(
        {
            "run_id": "2026-01-01T00-00-01",
            "status": "failed",
            "config": {"preset": "smoke", "nobody_knows": [1]},
            "stages": {"Trainer": {"seconds": 1.5, "cached": True, "retries": 2}},
            "who": "a later version",
        }
    )
    record = records.from_json(RunRecord, text)
    assert record.settings.preset == "smoke"
    assert record.settings.model_name == "cifar10"
    assert record.stages == {"Trainer": StageRecord(1.5, True)}
    assert record.accuracy is None


def test_an_output_is_where_its_stage_wrote_it():
    stages = {"Trainer": StageRecord(1.0, False, {"model": "/model/6"})}
    record = RunRecord("r", "failed", {}, stages=stages)
    assert record.uri("Trainer", "model") == "/model/6"
    assert record.uri("Trainer", "model_run") == ""
    assert record.uri("Evaluator", "blessing") == ""
