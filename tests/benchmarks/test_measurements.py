"""The numbers of docs/measurements.md, and the JSON they are from."""

import json

import pytest

from benchmarks import measurements, targets
from contract import records
from contract.search_record import SearchRecord, Trial
from trainer_module.hyper_parameters import ABOUT


def test_the_page_says_what_the_json_says():
    page = measurements.PAGE.read_text()
    assert measurements.with_tables(page) == page, "run: python -m benchmarks.measurements"
    assert {name for _, name, _ in measurements.BLOCK.findall(page)} == set(measurements.TABLES)


def test_a_long_benchmark_has_a_section_once_its_file_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(measurements, "DOCS", tmp_path)
    (tmp_path / "measurements").mkdir()
    empty = "".join(f"<!-- {name} -->\n<!-- end -->\n" for name in measurements.OPTIONAL)
    assert measurements.with_tables(empty) == empty
    target = {"name": "10 times the data", "measured": 10.5, "wanted": 11, "unit": "×"}
    report = {
        "date": "2026-01-01",
        "cores": 2,
        "cpu": "AMD EPYC",
        "targets": [target | {"is_minimum": False, "is_met": True}],
    }
    (tmp_path / "measurements/growth.json").write_text(json.dumps(report))
    page = measurements.with_tables(empty)
    assert "## More data\n\n`cifar bench pipeline --scale 10`, 2026-01-01, 2 cores" in page
    assert "| 10 times the data | 10.5 times | at most 11 times | yes |" in page
    (tmp_path / "measurements/growth.json").unlink()
    assert measurements.with_tables(page) == empty


def test_the_page_reads_what_cifar_bench_prints(tmp_path, monkeypatch, capsys):
    def no_table(*_: object) -> list[str]:
        raise AssertionError

    target = targets.Target("total against the local run", 2.06, 2, "times")
    targets.conclude({"benchmark": "kubeflow"}, [target], no_table, json_output=True)
    monkeypatch.setattr(measurements, "DOCS", tmp_path)
    (tmp_path / "measurements").mkdir()
    (tmp_path / "measurements/kubeflow.json").write_text(capsys.readouterr().out)
    page = measurements.with_tables("<!-- kubeflow -->\n<!-- end -->\n")
    assert "`cifar bench kubeflow`, 20" in page
    assert "| total against the local run | 2.06 times | at most 2 times | no |" in page


def test_accuracies_on_the_way_fit_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(measurements, "DOCS", tmp_path)
    (tmp_path / "measurements").mkdir()
    curve = [
        {"step": 2_000 * n, "accuracy": n / 20, "deviation": 0.002, "seconds": 60 * n}
        for n in range(1, 17)
    ]
    one, two = {"0": 0.8}, {"0": 0.798, "1": 0.802}
    presets = {
        "best": {"curve": curve, "accuracy_by_seed": one},
        "quick": {"curve": curve[:2], "accuracy_by_seed": two},
    }
    (tmp_path / "measurements/accuracy.json").write_text(json.dumps({"presets": presets}))
    heading, _, times, row, *of_quick = measurements.accuracy_over_steps()
    assert heading == (
        "| `best`, step | 4,000 | 8,000 | 12,000 | 16,000 | 20,000 | 24,000 | 28,000 | 32,000 |"
    )
    assert times.endswith(" | 16 min 00 s |")
    assert row.endswith(" | 80.0% |")
    assert of_quick[-1] == "| mean ± standard deviation | 5.0% ± 0.2% | 10.0% ± 0.2% |"


def test_the_time_to_an_accuracy_that_some_seed_did_not_reach_is_a_dash(tmp_path, monkeypatch):
    monkeypatch.setattr(measurements, "DOCS", tmp_path)
    (tmp_path / "measurements").mkdir()
    presets = {
        "quick": {"seconds_to": {"80%": 107.0, "86%": None}},
        "best": {"seconds_to": {"80%": 209.6, "86%": 590.0}},
    }
    (tmp_path / "measurements/accuracy.json").write_text(json.dumps({"presets": presets}))
    assert [*measurements.accuracy_times()] == [
        "| Trainer time to | 80% | 86% |",
        "|---|---|---|",
        "| `quick` | 1 min 47 s | – |",
        "| `best` | 3 min 30 s | 9 min 50 s |",
    ]


def test_the_best_trial_of_a_search_comes_first_and_a_stopped_one_last(tmp_path, monkeypatch):
    monkeypatch.setattr(measurements, "DOCS", tmp_path)
    (tmp_path / "measurements").mkdir()
    record = SearchRecord(
        trainer_module="trainer_module",
        preset="quick",
        hyper_parameters={"train_steps": 1_500},
        space=("momentum=0.8..0.95",),
        held_out=0.1,
        trials=(
            Trial(0, {"momentum": 0.81234}, "ended", 0.75, ((500, 0.7), (1_500, 0.75))),
            Trial(1, {"momentum": 0.9}, "stopped", 0.6, ((500, 0.6),)),
            Trial(2, {"momentum": 0.95}, "ended", 0.77, ((1_500, 0.77),)),
        ),
        importance={"momentum": 1.0},
    )
    report = {"date": "2026-01-01", "record": json.loads(records.to_json(record))}
    (tmp_path / "measurements/search.json").write_text(json.dumps(report))
    lines = list(measurements.search())
    assert "`cifar tune --preset quick`, 2026-01-01." in lines
    assert lines[4:9] == [
        "| `momentum` | trained | held-out accuracy |",
        "|---|---|---|",
        "| 0.95 | 1,500 steps | 77.0% |",
        "| 0.812 | 1,500 steps | 75.0% |",
        "| 0.9 | 500 steps | 60.0% |",
    ]


def test_another_number_in_the_json_is_another_number_on_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(measurements, "DOCS", tmp_path)
    (tmp_path / "measurements").mkdir()
    target = {"name": "speed", "measured": 996.4, "wanted": 1500, "unit": "images/s"}
    report = {
        "date": "2026-01-01",
        "cores": 2,
        "cpu": "AMD EPYC",
        "targets": [target | {"is_minimum": True, "is_met": False}],
    }
    (tmp_path / "measurements/serving.json").write_text(json.dumps(report))
    page = measurements.with_tables("before\n<!-- serving -->\nold\n<!-- end -->\nafter\n")
    assert "| speed | 996 images/s | at least 1,500 images/s | no |" in page
    assert "old" not in page
    assert page.startswith("before\n") and page.endswith("after\n")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(80.2, "%", "80.2%"), (1500, "images/s", "1,500 images/s"), (0.0712, "s", "0.0712 s")],
)
def test_quantities_have_one_style(value, unit, text):
    assert measurements.quantity(value, unit) == text


@pytest.mark.parametrize("name", ["quick", "best"])
def test_the_help_of_a_preset_says_what_was_measured(name):
    measured = measurements.read("accuracy")["presets"][name]
    accuracies = measured["accuracy_by_seed"].values()
    assert ABOUT[name] == (
        f"{measured['steps']:,} steps: {sum(accuracies) / len(accuracies):.1%} accuracy in "
        f"{measured['training_seconds'] / 60:.0f} min with AVX512-BF16"
    )
