from report import comparison
from report.run_record import PUSHED, RunRecord, StageRecord


def run(**fields) -> RunRecord:
    return RunRecord(**{"run_id": "r", "status": PUSHED, "config": {}} | fields)


def test_only_settings_that_differ_are_listed():
    first = run(config={"seed": 0, "train_steps": 60, "output_dir": "/a"})
    second = run(config={"seed": 0, "train_steps": 90, "output_dir": "/b"})
    assert comparison.compare_settings(first, second) == [("train_steps", 60, 90)]


def test_every_run_is_compared_with_the_first():
    rows = comparison.compare_metrics(
        run(accuracy=0.5), run(accuracy=0.625), run(accuracy=0.498)
    )
    assert rows[0] == ("accuracy", "50.0%", "62.5% (+12.5 points)", "49.8% (-0.2 points)")


def test_a_number_that_a_failed_run_lacks_is_a_dash():
    rows = comparison.compare_metrics(run(accuracy=0.5), run(), run(accuracy=0.5))
    assert rows[0] == ("accuracy", "50.0%", "–", "50.0% (+0.0 points)")
    assert comparison.compare_metrics(run(), run(accuracy=0.5))[0][1:] == ("–", "50.0%")


def test_a_number_that_no_run_has_is_left_out():
    rows = comparison.compare_metrics(run(accuracy=0.5), run(top_3_accuracy=0.75))
    names = [name for name, *_ in rows]
    assert "top-3 accuracy" in names and "top-5 accuracy" not in names


def test_a_stage_was_timed_or_cached_or_did_not_run():
    first = run(stages={"Trainer": StageRecord(7.14, False)})
    second = run(stages={"Trainer": StageRecord(0.1, True)})
    assert comparison.compare_stages(first, second) == [("Trainer", "7.1 s", "cached")]
    assert comparison.compare_stages(first, run()) == [("Trainer", "7.1 s", "not run")]
