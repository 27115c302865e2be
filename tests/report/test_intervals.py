"""Confidence intervals, against published values."""

import pytest

from report.intervals import wilson


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [  # Newcombe, Two-sided confidence intervals for the single proportion, 1998, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_wilsons(right, count, low, high):
    assert wilson(right / count, count) == pytest.approx((low, high), abs=5e-5)
