from benchmarks import report

MEASURED = {"node_seconds": 6.0, "command_seconds": 0.5, "page_bytes": 500_000}


def test_each_target_is_judged_by_its_own_number():
    assert [target.is_met for target in report.judge(MEASURED)] == [True, True, True]
    slow = report.judge({**MEASURED, "node_seconds": 10.1})
    assert [target.is_met for target in slow] == [False, True, True]
    large = report.judge({**MEASURED, "page_bytes": 2_100_000})
    assert [target.is_met for target in large] == [True, True, False]
