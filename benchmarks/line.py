"""The straight line through the times of several amounts of data."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Line:
    """A line through measurements.

    Attributes:
        fixed: Seconds without any data.
        each: Seconds more for each unit of data.
        farthest: The largest deviation from the line, as a share of the measured time.
    """

    fixed: float
    each: float
    farthest: float


def fitted(amounts: Sequence[float], seconds: Sequence[float]) -> Line:
    """Returns the line with the least squares of the deviations as shares of the time."""
    measured = np.array(seconds)
    each, fixed = np.polyfit(amounts, measured, deg=1, w=1 / measured)
    deviations = (fixed + each * np.array(amounts)) / measured - 1
    return Line(float(fixed), float(each), float(np.abs(deviations).max()))
