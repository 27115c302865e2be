import datetime
import json

import numpy as np

from benchmarks.targets import Target, conclude, target_line

FAST = Target("latency", 1.5, 2, "ms")
SLOW = Target("latency", 2.5, 2, "ms")


def lines(report, targets):
    return [f"on {report['cores']} cores", *map(target_line, targets)]


def test_a_maximum_and_a_minimum_may_be_reached_exactly():
    for is_minimum in (True, False):
        assert Target("t", 2.0, 2, "s", is_minimum).is_met
    assert (FAST.is_met, SLOW.is_met) == (True, False)
    assert Target("rate", 3.0, 2, "images/s", is_minimum=True).is_met
    assert not Target("rate", 1.0, 2, "images/s", is_minimum=True).is_met


def test_a_target_measured_by_numpy_can_be_printed_as_json():
    for is_minimum in (True, False):
        target = Target("latency", np.float64(1.5), 2, "ms", is_minimum)
        assert json.dumps(target.is_met) == ("false" if is_minimum else "true")


def test_a_row_says_what_was_measured_what_was_wanted_and_the_verdict():
    assert " ".join(target_line(FAST).split()) == "latency 1.50 ms at most 2 ms met"
    assert target_line(SLOW).endswith("MISSED")
    minimum = Target("rate", 3.0, 2, "images/s", is_minimum=True)
    assert "at least 2 images/s" in target_line(minimum)


def test_one_missed_target_fails_the_benchmark(capsys):
    assert conclude({"cores": 2}, [FAST], lines, json_output=False) == 0
    assert conclude({"cores": 2}, [FAST, SLOW], lines, json_output=False) == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown == ["on 2 cores", target_line(FAST)] * 2 + [target_line(SLOW)]


def test_json_has_the_report_and_each_verdict(capsys):
    assert conclude({"cores": 2}, [FAST, SLOW], lines, json_output=True) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["cores"] == 2
    assert report["date"] == datetime.date.today().isoformat()
    assert report["cpu"]
    assert [target["is_met"] for target in report["targets"]] == [True, False]
    assert report["targets"][1]["measured"] == 2.5
