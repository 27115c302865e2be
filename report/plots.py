"""The plots of a run, apart from its training: data, gate, classes, calibration, history."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
from matplotlib.ticker import MaxNLocator

from contract.data_gate_record import Comparison as DataComparison
from report import distributions, training_plots
from report.drawing import (
    LINE,
    PAPER,
    SERIES,
    STYLE,
    WIDTH,
    as_svg,
    legend_above,
    name_classes,
    new_figure,
    start_at_zero,
)
from report.facts import Calibration, Facts, Gate, Metrics, PixelStatistics
from report.plot_points import MARK
from report.run_record import NOT_BLESSED, PUSHED

DRAWN_DISTANCES = 4  # of a comparison; the table has all
CHANNEL_NAMES = ("red", "green", "blue")


def draw_all(facts: Facts) -> dict[str, str]:
    """Returns the SVG of each plot that there are facts for, by name."""
    plots = {}
    with matplotlib.rc_context(STYLE):
        if facts.data:
            plots["counts"] = draw_counts(facts.data.counts, facts.data.class_names)
            plots["pixels"] = draw_pixels(facts.data.pixels)
            plots |= _draw_distances(facts.data.comparisons)
        if facts.training:
            plots |= training_plots.draw_training(
                [("", facts.training)], facts.settings.min_accuracy
            )
            class_names = facts.data.class_names if facts.data else ()
            if curves := training_plots.class_curves(facts.training.record, class_names):
                plots["class_curves"] = training_plots.draw_class_curves(curves)
        if facts.evaluation and facts.gate:
            plots["gate"] = draw_gate(facts.evaluation.accuracy, facts.gate)
            plots["classes"] = draw_classes(facts.evaluation, facts.baseline)
        if facts.predictions:
            plots["calibration"] = draw_calibration(facts.predictions.calibration)
    return plots


def _draw_distances(comparisons: Sequence[DataComparison]) -> dict[str, str]:
    """Returns the distributions with the largest distances, by name as `drift:brightness`."""
    return {
        f"{one.kind}:{distance.feature}": distributions.draw(distance, one.current, one.other)
        for one in comparisons
        for distance in one.distances[:DRAWN_DISTANCES]
    }


def draw_counts(counts: Mapping[str, Sequence[int]], class_names: Sequence[str]) -> str:
    """Returns bars of images per class, a colour for each split."""
    figure, axes = new_figure()
    width = 0.8 / len(counts)
    for number, (split, values) in enumerate(counts.items()):
        places = [place + number * width for place in range(len(values))]
        axes.bar(places, values, width, label=split)
    name_classes(axes, class_names)
    axes.set_ylabel("images")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    legend_above(axes)
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
    start_at_zero(axes)
    legend_above(axes)
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
            if not shown:
                continue
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
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=(1, 2, 5, 10)))
        legend_above(axes)
        words = [str(run) for run in runs]
        return as_svg(figure, f"Accuracy of {len(runs)} runs. The last, {words[-1]}", words)


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
    legend_above(axes)
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
    name_classes(axes, names)
    axes.set_ylabel("accuracy on eval, %")
    if len(models) > 1:
        legend_above(axes)
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
    legend_above(axes)
    return as_svg(
        figure,
        "Calibration: accuracy over confidence. Expected calibration error "
        f"{calibration.expected_error:.1%}",
    )
