"""The numbers of docs/measurements.md, and the JSON they are from."""

import json

import pytest

from benchmarks import measurements
from trainer_module.hyper_parameters import ABOUT


def test_the_page_says_what_the_json_says():
    page = measurements.PAGE.read_text()
    assert measurements.with_tables(page) == page, "run: python -m benchmarks.measurements"
    assert {name for _, name, _ in measurements.BLOCK.findall(page)} == set(measurements.TABLES)


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
        f"{measured['steps']:,} steps: {sum(accuracies) / len(accuracies):.1%} accuracy, "
        f"{measured['training_seconds'] / 60:.0f} min of training"
    )
