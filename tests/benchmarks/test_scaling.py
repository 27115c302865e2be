"""The numbers of docs/scaling.md, and how they follow from the measurements."""

import pytest

from benchmarks import scaling
from benchmarks.measurements import BLOCK


def test_the_page_says_what_follows_from_the_measurements():
    page = scaling.PAGE.read_text()
    assert scaling.with_tables(page) == page, "run: python -m benchmarks.scaling"
    assert {name for _, name, _ in BLOCK.findall(page)} == set(scaling.TABLES)


def test_a_cost_goes_through_both_measurements(monkeypatch):
    report = {"images": 600, "scale": 10}
    report |= {"once": {"stages": {"StatisticsGen": 8.0, "Evaluator": 5.0}}}
    report |= {"scaled": {"stages": {"StatisticsGen": 35.0, "Evaluator": 14.0}}}
    monkeypatch.setattr(scaling, "read", lambda name: report)
    costs = scaling.costs()
    assert costs["StatisticsGen"].fixed == pytest.approx(5)  # 3 s for each 600 images
    assert costs["StatisticsGen"].seconds(6_000, workers=3) == pytest.approx(15)
    assert costs["Evaluator"].per_image == pytest.approx(0.01)  # of 100 images, then 1,000


@pytest.mark.parametrize(("rate", "of_one", "expected"), [(60, 100, 2), (61, 100, 3)])
def test_one_replica_is_to_spare(rate, of_one, expected):
    assert scaling.replicas(rate, of_one) == expected


def test_one_worker_waits_for_nobody():
    step, making, gradients = scaling.step_seconds(1)
    assert (making, gradients) == (0, 0)
    assert scaling.joint_speed(1) == pytest.approx(scaling.BATCH_OF_A_WORKER / step)
