import pytest

from report.run_record import RunRecord, StageRecord
from report.stages import STAGES, stage_list

RAN = {"CifarExampleGen": StageRecord(0.5, True), "StatisticsGen": StageRecord(2.0, False)}


def statuses(run: RunRecord | None) -> dict[str, str]:
    return {stage.name: stage.status for stage in stage_list(run)}


def test_stages_stand_in_the_order_they_ran_and_those_to_come_behind_them():
    backwards = dict(reversed(RAN.items()))
    names = [stage.name for stage in stage_list(RunRecord("r", "failed", {}, stages=backwards))]
    assert names[:3] == ["StatisticsGen", "CifarExampleGen", "ExampleValidator"]
    assert sorted(names) == sorted(STAGES)


def test_a_stage_was_done_or_cached_and_says_how_long_it_took():
    first, second, third = stage_list(RunRecord("r", "pushed", {}, stages=RAN))[:3]
    assert (first.what, first.status, first.seconds) == (
        "batches → examples and schema",
        "cached",
        0.5,
    )
    assert (second.status, second.seconds) == ("done", 2.0)
    assert (third.status, third.seconds) == ("not run", None)


@pytest.mark.parametrize("status", ["running", "killed", "stopped", "failed"])
def test_the_last_stage_became_what_the_run_became(status):
    run = RunRecord("r", status, {}, stages=RAN, failed_stage="Trainer")
    assert statuses(run)["Trainer"] == status
    assert statuses(run)["Pusher"] == "not run"


def test_a_stage_that_failed_after_the_push_failed():
    run = RunRecord("r", "pushed", {}, stages=RAN, failed_stage="ReportGen")
    assert statuses(run)["ReportGen"] == "failed"


def test_a_run_under_way_does_not_know_yet():
    assert statuses(None) == dict.fromkeys(STAGES, "")


def test_a_stage_nobody_described_is_listed_all_the_same():
    run = RunRecord("r", "pushed", {}, stages={"Another": StageRecord(1.0, False)})
    assert (stage_list(run)[0].name, stage_list(run)[0].what) == ("Another", "")
