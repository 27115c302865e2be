"""Draws the two distributions of a feature that were compared."""

import matplotlib
from matplotlib.axes import Axes

from contract.data_gate_record import Distance
from report import plots
from report.plots import SERIES

COLOURS = (SERIES[3], SERIES[0])


def draw(distance: Distance, current: str, other: str) -> str:
    """Returns the shares of two sets of images in each class or bin, as SVG.

    Args:
        distance: The feature, with both distributions.
        current: What the first set is called.
        other: What the second set is called.
    """
    with matplotlib.rc_context(plots.STYLE):
        figure, axes = plots.new_figure()
        sides = ((current, distance.current), (other, distance.other))
        for number, (name, shares) in enumerate(sides):
            percent = [share * 100 for share in shares]
            if distance.names:
                places = [place + 0.4 * number for place in range(len(shares))]
                axes.bar(places, percent, 0.4, label=name, color=COLOURS[number])
                continue
            width = distance.edges[1] - distance.edges[0]
            middles = [edge + width / 2 for edge in distance.edges[:-1]]
            axes.plot(
                middles, percent, label=name, color=COLOURS[number], drawstyle="steps-mid"
            )
            axes.fill_between(
                middles, percent, step="mid", color=COLOURS[number], alpha=0.15, linewidth=0
            )
        _label(axes, distance)
        return plots.as_svg(
            figure,
            f"{distance.feature} of {current} and of {other}: {distance.measure} "
            f"{distance.value:.3f}, at most {distance.limit:.3f} is allowed",
        )


def _label(axes: Axes, distance: Distance) -> None:
    axes.set_ylabel("% of images")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=9.5, borderpad=0.2)
    if not distance.names:
        axes.set_xlabel(distance.feature)
        axes.set_xlim(distance.edges[0], distance.edges[-1])
        return
    axes.grid(visible=False, axis="x")
    if len(distance.names) > plots.NAMED_CLASSES:
        axes.set_xlabel(f"{len(distance.names):,} classes, in the order of their labels")
        return
    axes.set_xticks([place + 0.2 for place in range(len(distance.names))])
    axes.set_xticklabels(distance.names, rotation=40, ha="right", rotation_mode="anchor")
