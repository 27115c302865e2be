"""The points of a plot with their values in words, for the script that shows them."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

UNITS_PER_INCH = 72  # of an SVG
# x and y in units of the SVG, from the upper left; in words; the series, if it can be chosen
PlotPoint = tuple[float, float, str] | tuple[float, float, str, str]
MARK = "mark"  # the id of a line that is not data
SERIES_ID = "series "  # before the name, in the id of a curve that can be chosen


def points_of(figure: Figure, x_names: Sequence[str] = ()) -> list[PlotPoint]:
    """Returns each point of the curves and bars of a figure that was drawn.

    Args:
        figure: With one pair of axes, and UNITS_PER_INCH dots an inch.
        x_names: The words for each whole number x; without them, the values.
    """
    (axes,) = figure.axes
    found = [*_of_lines(axes, x_names), *_of_bars(axes)]
    if not found:
        return []
    height = figure.get_figheight() * UNITS_PER_INCH
    places = axes.transData.transform(np.array([point[:2] for point in found])).tolist()
    return [
        (round(x, 1), round(height - y, 1), *described)
        for (x, y), (_, _, *described) in zip(places, found, strict=True)
    ]


def _of_lines(axes: Axes, x_names: Sequence[str]) -> Iterator[PlotPoint]:
    for line in axes.lines:
        gid = str(line.get_gid() or "")
        if gid == MARK or line.get_transform() is not axes.transData:
            continue  # such as a threshold of the gate
        chosen = gid.removeprefix(SERIES_ID)
        label = str(line.get_label())
        name = axes.get_ylabel() if label.startswith("_") else label
        for x, y in np.asarray(line.get_xydata()).tolist():
            values = f"{axes.get_xlabel()} {x:,.6g}  {name} {y:,.4g}"
            words = x_names[round(x)] if x_names else values
            yield (x, y, words, chosen) if chosen else (x, y, words)


def _of_bars(axes: Axes) -> Iterator[PlotPoint]:
    ticks = [tick.get_text() for tick in axes.get_xticklabels()]
    for bars in axes.containers:
        if not isinstance(bars, BarContainer) or bars.orientation != "vertical":
            continue
        label = str(bars.get_label())
        name = "" if label.startswith("_") else f" {label}"
        for number, bar in enumerate(bars):
            x, y = bar.get_x() + bar.get_width() / 2, bar.get_height()
            where = ticks[number] if len(ticks) == len(bars) else f"{x:.3g}"
            yield x, y, f"{where}{name}: {y:,.4g}"
