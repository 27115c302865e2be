"""Plots as SVG that take the page's colours, so that one drawing suits light and dark."""

import html
import io
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from contract.training_record import TrainingRecord
from report.facts import (
    Calibration,
    Facts,
    Gate,
    Metrics,
    PixelStatistics,
    Point,
    TrainingFacts,
)
from report.plot_points import MARK, SERIES_ID, UNITS_PER_INCH, points_of
from report.run_record import NOT_BLESSED, PUSHED

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
NAMED_CLASSES = 20  # names of more would cover each other
CLASS_POINTS = 50  # of the curve of a class
DASHES: Sequence[Any] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1, 1, 1)))
CHANNEL_NAMES = ("red", "green", "blue")
Run = tuple[str, TrainingFacts]  # named; empty for the only one
Curve = tuple[str, Sequence[Point]]  # named; empty for the only one
WIDTH, HEIGHT = 5.0, 3.0  # inches


def draw_all(facts: Facts) -> dict[str, str]:
    """Returns the SVG of each plot that there are facts for, by name."""
    plots = {}
    with matplotlib.rc_context(STYLE):
        if facts.data:
            plots["counts"] = draw_counts(facts.data.counts, facts.data.class_names)
            plots["pixels"] = draw_pixels(facts.data.pixels)
        if facts.training:
            plots |= _draw_training([("", facts.training)], facts.settings.min_accuracy)
            class_names = facts.data.class_names if facts.data else ()
            if curves := class_curves(facts.training.record, class_names):
                plots["class_curves"] = draw_class_curves(curves)
        if facts.evaluation and facts.gate:
            plots["gate"] = draw_gate(facts.evaluation.accuracy, facts.gate)
            plots["classes"] = draw_classes(facts.evaluation, facts.baseline)
        if facts.predictions:
            plots["calibration"] = draw_calibration(facts.predictions.calibration)
    return plots


def draw_counts(counts: Mapping[str, Sequence[int]], class_names: Sequence[str]) -> str:
    """Returns bars of images per class, a colour for each split."""
    figure, axes = new_figure()
    width = 0.8 / len(counts)
    for number, (split, values) in enumerate(counts.items()):
        places = [place + number * width for place in range(len(values))]
        axes.bar(places, values, width, label=split)
    _name_classes(axes, class_names)
    axes.set_ylabel("images")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    _legend_above(axes)
    summary = "; ".join(
        f"{split}: {min(values):,} to {max(values):,} images per class"
        for split, values in counts.items()
    )
    return as_svg(figure, f"Images per class. {summary}")


def draw_pixels(pixels: PixelStatistics) -> str:
    """Returns how often each pixel value occurs in each channel."""
    figure, axes = new_figure()
    colours = (SERIES[3], SERIES[2], SERIES[0])
    for name, fractions, colour in zip(CHANNEL_NAMES, pixels.histogram, colours, strict=True):
        axes.plot([value * 100 for value in fractions], label=name, color=colour, linewidth=1.3)
    axes.set_xlabel("pixel value")
    axes.set_ylabel("% of pixels")
    _start_at_zero(axes)
    _legend_above(axes)
    means = ", ".join(
        f"{name} {mean:.1f}" for name, mean in zip(CHANNEL_NAMES, pixels.mean, strict=True)
    )
    return as_svg(figure, f"Pixel values of the train images. Mean: {means}")


class MeasuredRun(NamedTuple):
    """A run, how good its model is, and the 95% interval of that."""

    run_id: str
    status: str
    accuracy: float
    low: float
    high: float

    def __str__(self) -> str:
        """Returns it in words."""
        interval = f"95% interval {self.low:.1%} to {self.high:.1%}"
        return f"{self.run_id}: {self.accuracy:.1%}, {interval}"


def draw_history(runs: Sequence[MeasuredRun]) -> str:
    """Returns the accuracy of each run with its confidence interval, in the order of runs."""
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure(width=2 * WIDTH)
        for status, colour, marker in ((PUSHED, SERIES[0], "o"), (NOT_BLESSED, SERIES[3], "X")):
            shown = [(n, run) for n, run in enumerate(runs) if run.status == status]
            for number, run in shown:
                axes.vlines(number, 100 * run.low, 100 * run.high, color=colour)
            axes.plot(
                [number for number, _ in shown],
                [100 * run.accuracy for _, run in shown],
                marker,
                color=colour,
                label=status.replace("_", " "),
            )
        step = -(-len(runs) // 6)
        axes.set_xticks(range(0, len(runs), step))
        axes.set_xticklabels([run.run_id[:10] for run in runs[::step]])
        axes.set_ylabel("accuracy on eval, %")
        _legend_above(axes)
        words = [str(run) for run in runs]
        return as_svg(figure, f"Accuracy of {len(runs)} runs. The last, {words[-1]}", words)


def draw_runs(runs: Sequence[Run]) -> dict[str, str]:
    """Returns the SVG of each training plot with the curves of several runs, by name."""
    with matplotlib.rc_context(STYLE):
        return _draw_training(runs)


def _draw_training(runs: Sequence[Run], min_accuracy: float | None = None) -> dict[str, str]:
    """Returns loss, eval accuracy, learning rate and speed over the steps, if they are known.

    Args:
        runs: The name (empty for the only one) and the training facts of each.
        min_accuracy: The accuracy that the gate requires, drawn as a line.
    """
    curves = [(name, training.curves) for name, training in runs]
    rates = [(name, curve.learning_rate) for name, curve in curves]
    speeds = [(name, curve.images_per_second) for name, curve in curves]
    plots = {}
    if any(curve.loss or curve.eval_loss for _, curve in curves):
        plots["loss"] = _draw_loss(runs)
    if any(curve.eval_accuracy for _, curve in curves):
        plots["accuracy"] = _draw_accuracy(runs, min_accuracy)
    if any(points for _, points in rates):
        plots["learning_rate"] = _draw_curve(rates, "learning rate", "{:.3g}")
    if any(points for _, points in speeds):
        plots["speed"] = _draw_curve(speeds, "images/s", "{:,.0f}")
    return plots


def _draw_loss(runs: Sequence[Run]) -> str:
    figure, axes = new_figure()
    for (name, training), (colour, dashes) in zip(runs, _looks(), strict=False):
        curves = training.curves
        if curves.loss and not name:
            _plot(axes, curves.loss, colour, label="raw", alpha=0.35, linewidth=1)
        _plot(axes, curves.loss_averaged, colour, name or "averaged", dashes)
        if not name:
            _plot(axes, curves.cross_entropy_averaged, SERIES[2], "without the penalty")
        label = "" if name else "cross-entropy on eval"
        _plot(axes, curves.eval_loss, SERIES[1] if not name else colour, label, ":", "o")
    label_steps(axes)
    axes.set_ylabel("loss")
    _start_at_zero(axes)
    _legend_above(axes)
    ends = [(name, training.curves.loss_averaged) for name, training in runs]
    return as_svg(figure, _ends_at("Training loss", ends, "{:.3f}"))


def _draw_accuracy(runs: Sequence[Run], min_accuracy: float | None) -> str:
    figure, axes = new_figure()
    for (name, training), (colour, dashes) in zip(runs, _looks(), strict=False):
        curves = training.curves
        _plot(axes, _percent(curves.eval_accuracy), colour, name or "on eval", dashes, "o")
        if curves.train_accuracy and not name:
            batches, averaged = curves.train_accuracy, curves.train_accuracy_averaged
            _plot(axes, _percent(batches), SERIES[1], "train batch", alpha=0.35, linewidth=1)
            _plot(axes, _percent(averaged), SERIES[1], "averaged")
    if min_accuracy is not None:
        axes.axhline(min_accuracy * 100, color=SERIES[3], linestyle="--", label="required")
    label_steps(axes)
    axes.set_ylabel("accuracy, %")
    axes.set_xlim(left=0)
    _start_at_zero(axes)
    _legend_above(axes)
    ends = [(name, training.curves.eval_accuracy) for name, training in runs]
    words = _ends_at("Accuracy on eval", ends, "{:.1%}")
    trained = [(name, training.curves.train_accuracy_averaged) for name, training in runs]
    if any(points for _, points in trained):
        words += ". " + _ends_at("Accuracy on train batches", trained, "{:.1%}")
    return as_svg(figure, words)


def _looks() -> Iterator[tuple[str, Any]]:
    """Yields a colour and dashes for each curve of any number; all colours come first."""
    return itertools.cycle((colour, dashes) for dashes in DASHES for colour in SERIES)


def _percent(points: Sequence[Point]) -> list[Point]:
    return [(step, value * 100) for step, value in points]


def class_curves(record: TrainingRecord, class_names: Sequence[str]) -> list[Curve]:
    """Returns the accuracy on each class over the steps, best at the end first.

    There are none before a second evaluation, or if the evaluations do not tell classes apart.
    """
    measured = [e for e in record.evaluations if len(e.class_accuracy) == len(class_names)]
    stride = -(-len(measured) // CLASS_POINTS) or 1
    kept = measured[::-1][::stride][::-1]
    if len(kept) < 2 or not class_names:
        return []
    curves = [
        (name, [(one.step, one.class_accuracy[label]) for one in kept])
        for label, name in enumerate(class_names)
    ]
    return sorted(curves, key=lambda curve: curve[1][-1][1], reverse=True)


def draw_class_curves(curves: Sequence[Curve]) -> str:
    """Returns the accuracy on each class over the steps; a page's script can choose one."""
    figure, axes = new_figure(width=2 * WIDTH)
    for (name, points), (colour, dashes) in zip(curves, _looks(), strict=False):
        _plot(axes, _percent(points), colour, name, dashes, gid=SERIES_ID + name)
    label_steps(axes)
    axes.set_ylabel("accuracy on eval, %")
    if len(curves) <= NAMED_CLASSES:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9.5)
    best, worst = ([(name, points)] for name, points in (curves[0], curves[-1]))
    return as_svg(
        figure,
        f"{_ends_at('Accuracy on the best class', best, '{:.1%}')}. "
        f"{_ends_at('On the worst', worst, '{:.1%}')}",
    )


def _draw_curve(curves: Sequence[Curve], label: str, form: str) -> str:
    figure, axes = new_figure()
    for (name, points), (colour, dashes) in zip(curves, _looks(), strict=False):
        _plot(axes, points, colour, name, dashes)
    label_steps(axes)
    axes.set_ylabel(label)
    _start_at_zero(axes)
    if len(curves) > 1:
        _legend_above(axes)
    return as_svg(figure, _ends_at(label, curves, form))


def _plot(
    axes: Axes,
    points: Sequence[Point],
    colour: str,
    label: str,
    linestyle: Any = "-",
    marker: str = "",
    **looks: Any,
) -> None:
    steps, values = zip(*points, strict=True) if points else ((), ())
    axes.plot(
        steps,
        values,
        color=colour,
        label=label or None,
        linestyle=linestyle,
        marker=marker,
        markersize=4,
        **looks,
    )


def _ends_at(what: str, curves: Sequence[Curve], form: str) -> str:
    """Returns where each curve ends, in words."""
    ends = [f"{name} {form.format(points[-1][1])}".strip() for name, points in curves if points]
    return f"{what} over the steps. Ends at: {', '.join(ends) or 'not known'}"


def draw_gate(accuracy: float, gate: Gate) -> str:
    """Returns the accuracy of the candidate and the baseline, with the thresholds."""
    bars = [("candidate", accuracy, SERIES[0])]
    limits = [(gate.min_accuracy, "required")]
    if gate.baseline_accuracy is not None:
        bars.append(("baseline", gate.baseline_accuracy, SERIES[1]))
        limits.append((gate.baseline_accuracy - gate.max_accuracy_drop, "allowed drop"))
    figure, axes = new_figure(height=1 + 0.4 * len(bars))
    for name, value, colour in bars:
        bar = axes.barh(name, value * 100, 0.55, color=colour)
        axes.bar_label(bar, [f"{value:.1%}"], label_type="center", color=PAPER)
    for (limit, name), style in zip(limits, ("--", ":"), strict=False):
        axes.axvline(max(limit, 0) * 100, color=SERIES[3], linestyle=style, label=name)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("accuracy on eval, %")
    axes.grid(visible=False, axis="y")
    _legend_above(axes)
    return as_svg(figure, f"The gate. {gate.verdict}")


def draw_classes(candidate: Metrics, baseline: Metrics | None) -> str:
    """Returns the accuracy on each class, of the candidate and of any baseline."""
    figure, axes = new_figure()
    names = candidate.class_names
    models = [("candidate", candidate.class_accuracy)]
    if baseline:
        models.append(("baseline", baseline.class_accuracy))
    width = 0.8 / len(models)
    for number, (model, accuracy) in enumerate(models):
        places = [place + number * width for place in range(len(names))]
        values = [accuracy.get(name, 0) * 100 for name in names]
        axes.bar(places, values, width, label=model)
    _name_classes(axes, names)
    axes.set_ylabel("accuracy on eval, %")
    if len(models) > 1:
        _legend_above(axes)
    return as_svg(figure, "Accuracy on each class; the table below has the numbers")


def draw_calibration(calibration: Calibration) -> str:
    """Returns accuracy over confidence, with the line on which the two are equal."""
    figure, axes = new_figure()
    bins = calibration.bins
    axes.plot(
        [0, 100], [0, 100], color=LINE, linestyle="--", label="perfect calibration", gid=MARK
    )
    confidence = [b.confidence * 100 for b in bins]
    axes.plot(
        confidence,
        [b.accuracy * 100 for b in bins],
        color=SERIES[0],
        marker="o",
        markersize=4,
        label="candidate",
    )
    total = sum(b.images for b in bins)
    percentages = [b.images / total * 100 for b in bins]
    axes.bar(confidence, percentages, 6, color=SERIES[0], alpha=0.2, label="% of images")
    axes.set_xlabel("confidence, %")
    axes.set_ylabel("accuracy, %")
    axes.set_xlim(0, 102)
    axes.set_ylim(0, 102)
    _legend_above(axes)
    return as_svg(
        figure,
        "Calibration: accuracy over confidence. Expected calibration error "
        f"{calibration.expected_error:.1%}",
    )


def new_figure(height: float = HEIGHT, width: float = WIDTH) -> tuple[Figure, Axes]:
    """Returns a figure of a size in inches, and its only plot."""
    figure = Figure(figsize=(width, height), layout="constrained", dpi=UNITS_PER_INCH)
    return figure, figure.subplots()


def label_steps(axes: Axes) -> None:
    """Marks the horizontal axis in steps."""
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")


def _start_at_zero(axes: Axes) -> None:
    top = axes.dataLim.y1  # -inf without a point
    axes.set_ylim(0, top * 1.06 if top > 0 else 1)


def _name_classes(axes: Axes, names: Sequence[str]) -> None:
    if len(names) <= NAMED_CLASSES:
        axes.set_xticks([place + 0.2 for place in range(len(names))])
        axes.set_xticklabels(names, rotation=40, ha="right", rotation_mode="anchor")
    else:
        axes.set_xlabel(f"{len(names):,} classes, in the order of their labels")
    axes.grid(visible=False, axis="x")


def _legend_above(axes: Axes) -> None:
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=3,
        fontsize=9.5,
        borderpad=0.2,
        handlelength=1.4,
        columnspacing=1.2,
    )


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
