"""The line through measurements."""

import pytest

from benchmarks.line import fitted


def test_a_line_is_fitted_to_several_measurements():
    line = fitted([600, 1_800, 6_000], [5, 11, 32])  # 2 s, and 5 ms an image
    assert (line.fixed, line.each) == (pytest.approx(2), pytest.approx(0.005))
    assert line.farthest == pytest.approx(0, abs=1e-9)
    assert fitted([600, 1_800, 6_000], [5, 9, 32]).farthest > 0.05
