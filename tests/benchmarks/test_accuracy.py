import pytest

from benchmarks import accuracy

# Two seeds: the step, the seconds since the Trainer began, the accuracy.
CURVES = [
    [(1_000, 100.0, 0.79), (2_000, 200.0, 0.83), (3_000, 310.0, 0.86)],
    [(1_000, 120.0, 0.81), (2_000, 220.0, 0.84), (3_000, 330.0, 0.88)],
]


def test_a_curve_has_the_mean_and_the_spread_of_its_seeds():
    first, *_, last = accuracy.summarize(CURVES, [0, 1])["curve"]
    assert first == {
        "step": 1_000,
        "seconds": 110.0,
        "accuracy": pytest.approx(0.80),
        "deviation": pytest.approx(0.01 * 2**0.5),
    }
    assert last["accuracy"] == pytest.approx(0.87)
    summary = accuracy.summarize(CURVES, [0, 1])
    assert (summary["steps"], summary["training_seconds"]) == (3_000, 320.0)
    assert summary["accuracy_by_seed"] == {"0": 0.86, "1": 0.88}


def test_the_time_to_a_level_is_known_if_every_seed_reached_it():
    seconds_to = accuracy.summarize(CURVES, [0, 1])["seconds_to"]
    assert seconds_to == {"80%": 160.0, "83%": 210.0, "85%": 320.0, "86%": 320.0, "87%": None}


def test_the_classic_way_takes_the_steps_of_reference_at_its_own_speed():
    classic = accuracy.classic_times(CURVES[:1], examples_per_second=1_280.0)
    assert classic["seconds_to"]["83%"] == 2_000 * 128 / 1_280
    assert classic["seconds_to"]["87%"] is None
    assert accuracy.classic_times([], 1_280.0)["seconds_to"]["80%"] is None


def test_targets_are_those_of_the_presets_that_were_trained():
    quick = accuracy.summarize(CURVES, [0, 1])
    targets = accuracy.judge({"quick": quick})
    assert [(round(t.measured, 2), t.is_met) for t in targets] == [(87, True), (5.33, False)]
    best = accuracy.judge({"best": quick})
    assert [round(t.measured, 2) for t in best] == [87, 87, 5.33]


def test_the_table_has_a_line_for_each_step_and_each_way():
    report = {
        "cores": 2,
        "python": "3.10",
        "data_source": "official",
        "seeds": [0, 1],
        "presets": {"quick": accuracy.summarize(CURVES, [0, 1])},
        "classic": accuracy.classic_times(CURVES, 1_280.0),
    }
    lines = accuracy.table(report, accuracy.judge(report["presets"]))
    assert any(line.split()[-3:] == ["87.00%", "±", "1.41%"] for line in lines)
    assert sum(line.startswith(("quick ", "classic way")) for line in lines) == 3
