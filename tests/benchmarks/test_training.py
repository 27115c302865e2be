import pytest

from benchmarks import training


def measured(ours: float, limit: float, fastest: str = "bfloat16") -> dict:
    speed = {"examples_per_second": ours, "peak_bytes": 2**30}
    limits = {dtype: {"examples_per_second": limit} for dtype in training.LIMIT_DTYPES}
    return {
        "classic": {"examples_per_second": 1_000.0},
        "input": {"examples_per_second": 100_000.0},
        "limit": {**limits, "fastest": fastest},
        **{f"ours_{dtype}": speed for dtype in ("float32", fastest)},
    }


def test_the_median_round_counts():
    rounds = [measured(2_500, 4_000), measured(100, 3_000), measured(9_000, 5_000)]
    medians = training.medians_of(rounds)
    assert medians["ours_bfloat16"] == 2_500
    assert medians["limit_float32"] == 4_000


def test_targets_compare_with_the_classic_way_and_with_the_limit():
    targets = training.judge([measured(2_720, 3_200)])
    assert [(target.measured, target.is_met) for target in targets] == [
        (2.72, True),  # times the classic way
        (85, True),  # percent of the limit
        (pytest.approx(36.8, abs=0.1), True),  # times the speed of a step
        (1, True),  # GiB
    ]
    slow = training.judge([measured(2_500, 3_200)])
    assert [target.is_met for target in slow] == [False, False, True, True]


def test_without_instructions_for_bfloat16_float32_is_judged():
    rounds = [measured(700, 1_000, fastest="float32")]
    classic, limit, *_ = training.judge(rounds)
    assert (classic.measured, limit.measured) == (0.7, 70)
    assert limit.name == "share of the float32 limit"
    report = {"cores": 2, "python": "3.10", "data_source": "npm", "rounds": rounds}
    report["medians"] = training.medians_of(rounds)
    lines = "\n".join(training.table(report, []))
    assert "ours, float32" in lines and "ours, bfloat16" not in lines


def test_a_ratio_is_that_of_one_round():
    """The other program of a disturbed round is compared with what ran beside it."""
    rounds = [measured(2_500, 4_000), measured(2_500, 4_000), measured(1_000, 2_000)]
    rounds[0]["classic"] = {"examples_per_second": 500.0}
    rounds[2]["classic"] = {"examples_per_second": 400.0}
    classic, limit, *_ = training.judge(rounds)
    assert (classic.measured, limit.measured) == (2.5, 62.5)
