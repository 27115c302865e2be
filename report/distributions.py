"""Draws the two distributions of a feature that were compared."""

import matplotlib
from matplotlib.axes import Axes

from contract.data_gate_record import Distance
from report.drawing import (
    SERIES,
    STYLE,
    as_svg,
    legend_above,
    name_classes,
    new_figure,
)

COLOURS = (SERIES[0], SERIES[1])


def draw(distance: Distance, current: str, other: str) -> str:
    """Returns the shares of two sets of images in each class or bin, as SVG.

    Args:
        distance: The feature, with both distributions.
        current: The name of the first set.
        other: The name of the second set.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure()
        sides = ((current, distance.current), (other, distance.other))
        for number, (name, shares) in enumerate(sides):
            percent = [share * 100 for share in shares]
            if distance.names:
                places = [place + 0.4 * number for place in range(len(shares))]
                axes.bar(places, percent, 0.4, label=name, color=COLOURS[number])
            else:
                _draw_bins(axes, distance, name, percent, COLOURS[number])
        if distance.names:
            name_classes(axes, distance.names)
        axes.set_ylabel("% of images")
        legend_above(axes)
        return as_svg(
            figure,
            f"{distance.feature} of {current} and of {other}: {distance.measure} "
            f"{distance.value:.3f}, at most {distance.limit:.3f} is allowed",
        )


def _draw_bins(
    axes: Axes, distance: Distance, name: str, percent: list[float], colour: str
) -> None:
    """Draws a histogram as steps, with the area below."""
    middles = [
        (low + high) / 2 for low, high in zip(distance.edges, distance.edges[1:], strict=False)
    ]
    axes.plot(middles, percent, label=name, color=colour, drawstyle="steps-mid")
    axes.fill_between(middles, percent, step="mid", color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel(distance.feature)
    axes.set_xlim(distance.edges[0], distance.edges[-1])
