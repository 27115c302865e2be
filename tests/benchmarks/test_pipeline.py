"""The verdict, on numbers that can be checked by hand."""

import copy

import pytest

from benchmarks.pipeline import judge, step_seconds, table
from benchmarks.process import GIB

REPORT = {
    "data_source": "existing",
    "images": 60_000,
    "is_complete": True,
    "cores": 2,
    "python": "3.10.13",
    "stock": {
        "seconds": 90.0,
        "peak_bytes": 3 * GIB,
        "stages": {
            "ImportExampleGen": 20.0,
            "StatisticsGen": 10.0,
            "SchemaGen": 0.0,
            "Transform": 50.0,
            "Evaluator": 9.0,
        },
    },
    "ours": {
        "seconds": 50.0,
        "peak_bytes": 1.5 * GIB,
        "stages": {
            "CifarExampleGen": 1.5,
            "StatisticsGen": 3.0,
            "Transform": 0.5,
            "Trainer": 30.0,
            "Evaluator": 9.0,
        },
        "train_steps": 200,
        "step_seconds": 20.0,
    },
    "cached": {"seconds": 9.5, "peak_bytes": 1 * GIB},
    "import_tfx_seconds": [9.0, 8.0, 20.0],
    "help_seconds": [0.1, 0.2, 0.1, 0.9, 0.1],
}


@pytest.fixture
def report():
    return copy.deepcopy(REPORT)


def test_each_target_is_measured_as_it_is_worded(report):
    assert {target.name: target.measured for target in judge(report)} == {
        "data stages, compared with stock": 16.0,  # 80 s against 5 s
        "a run without its training steps": 30.0,
        "cached rerun, beyond importing TFX": 0.5,  # the median import took 9 s
        "cifar --help": 0.1,
        "peak memory": 1.5,
    }
    assert all(target.is_met for target in judge(report))


def test_steps_take_their_number_times_the_median():
    record = {"train_steps": 200, "examples_per_second": 2560, "config": {"batch_size": 128}}
    assert step_seconds(record) == 10.0


def test_a_missed_target_is_named(report):
    report["ours"]["stages"]["StatisticsGen"] = 8.0  # 80 s against 10 s
    report["cached"] = {"seconds": 14.5, "peak_bytes": 2.5 * GIB}
    lines = table(report, judge(report))
    assert [line.split("  ")[0] for line in lines if line.endswith("MISSED")] == [
        "data stages, compared with stock",
        "cached rerun, beyond importing TFX",
        "peak memory",
    ]
    assert sum(line.endswith(" met") for line in lines) == 2


def test_the_table_warns_of_too_few_images(report):
    assert not [line for line in table(report, judge(report)) if line.startswith("Note")]
    report |= {"images": 1200, "is_complete": False}
    assert table(report, judge(report))[-1].startswith("Note: this data has 1,200 images")
