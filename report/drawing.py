"""How plots are drawn: SVG in the page's colours, so that one drawing suits light and dark."""

import html
import io
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from report.plot_points import SERIES_ID, UNITS_PER_INCH, points_of

# Matplotlib draws in placeholder colours, which are replaced by those of page.css.
INK = "#010101"
LINE = "#010102"
PAPER = "#010107"
SERIES = ("#010103", "#010104", "#010105", "#010106")
_PAGE_COLOURS = {
    INK: "currentColor",
    LINE: "var(--line)",
    PAPER: "var(--paper)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, 1)},
}
STYLE = {
    "svg.fonttype": "none",  # text stays text
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.prop_cycle": cycler(color=SERIES),
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_FOR_A_PAGE = {
    r"<defs>\s*<style.*?</style>\s*</defs>": "",  # a rule for every element of the page
    rf'<g id="{SERIES_ID}([^"]*)"': r'<g data-series="\1"',
    r'<g id="[^"]*"': "<g",  # the same in each plot
    r"font-family: [^;\"]*;? ?": "",
    r'(<svg)[^>]*( viewBox="[^"]*")[^>]*': r"\1\2",  # as wide as its place in the page
    r"\s*\n\s*": " ",
}
DASHES: Sequence[Any] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1, 1, 1)))
NAMED_CLASSES = 20  # names of more would cover each other
WIDTH, HEIGHT = 5.0, 3.0  # inches
LEGEND_LETTERS = 48  # beside each other, above a plot of this width


def new_figure(height: float = HEIGHT, width: float = WIDTH) -> tuple[Figure, Axes]:
    """Returns a figure of a size in inches, and its only plot."""
    figure = Figure(figsize=(width, height), layout="constrained", dpi=UNITS_PER_INCH)
    return figure, figure.subplots()


def label_steps(axes: Axes) -> None:
    """Marks the horizontal axis in steps."""
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")


def start_at_zero(axes: Axes) -> None:
    """Makes the vertical axis begin at 0."""
    top = axes.dataLim.y1  # -inf without a point
    axes.set_ylim(0, top * 1.06 if top > 0 else 1)


def name_classes(axes: Axes, names: Sequence[str]) -> None:
    """Marks the horizontal axis with classes; only with their number if there are many."""
    if len(names) <= NAMED_CLASSES:
        axes.set_xticks([place + 0.2 for place in range(len(names))])
        axes.set_xticklabels(names, rotation=40, ha="right", rotation_mode="anchor")
    else:
        axes.set_xlabel(f"{len(names):,} classes, in the order of their labels")
    axes.grid(visible=False, axis="x")


def legend_above(axes: Axes) -> None:
    """Adds the legend above the plot, which its columns must not be wider than."""
    _, labels = axes.get_legend_handles_labels()
    longest = max(map(len, labels), default=1)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=max(1, min(3, LEGEND_LETTERS // longest)),
        fontsize=9.5,
        borderpad=0.2,
        handlelength=1.4,
        columnspacing=1.2,
    )


def looks() -> Iterator[tuple[str, Any]]:
    """Yields a colour and dashes for each curve of any number; all colours come first."""
    return itertools.cycle((colour, dashes) for dashes in DASHES for colour in SERIES)


def as_svg(figure: Figure, summary: str, x_names: Sequence[str] = ()) -> str:
    """Returns the figure as an SVG element with a summary for screen readers.

    Args:
        figure: With one pair of axes.
        summary: What it shows.
        x_names: The words for each whole number x in the page's script.
    """
    content = io.StringIO()
    figure.savefig(content, format="svg", metadata=_NO_METADATA)
    svg = content.getvalue()
    svg = svg[svg.index("<svg") :]
    for pattern, replacement in _FOR_A_PAGE.items():
        svg = re.sub(pattern, replacement, svg, flags=re.DOTALL)
    for drawn, shown in _PAGE_COLOURS.items():
        svg = svg.replace(drawn, shown)
    label = html.escape(summary)
    points = html.escape(json.dumps(points_of(figure, x_names), separators=(",", ":")))
    attributes = f'role="img" aria-label="{label}" data-points="{points}"'
    return svg.replace("<svg", f"<svg {attributes}", 1)
