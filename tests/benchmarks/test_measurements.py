"""The numbers of docs/measurements.md, and the JSON they are from."""

import json
import re

import pytest

from benchmarks import measurements


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


def test_every_number_of_a_preset_is_within_what_its_help_promises():
    """The README's accuracy of `quick` is the measured one."""
    quick = measurements.read("accuracy")["presets"]["quick"]
    readme = (measurements.DOCS.parent / "README.md").read_text()
    (mean,) = quick["accuracy_by_seed"].values()
    assert re.search(rf"{mean:.1%}", readme)
