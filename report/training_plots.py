"""The curves of one training or of several, and those of each class."""

from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes

from contract.training_record import TrainingRecord
from report.drawing import (
    NAMED_CLASSES,
    SERIES,
    STYLE,
    WIDTH,
    as_svg,
    label_steps,
    legend_above,
    looks,
    new_figure,
    start_at_zero,
)
from report.facts import Point, TrainingFacts
from report.plot_points import SERIES_ID

CLASS_POINTS = 50  # of the curve of a class
MARKED_POINTS = 10  # more would hide the dashes
Run = tuple[str, TrainingFacts]  # named; empty for the only one
Curve = tuple[str, Sequence[Point]]  # named; empty for the only one


def draw_runs(runs: Sequence[Run]) -> dict[str, str]:
    """Returns the SVG of each training plot with the curves of several runs, by name."""
    with matplotlib.rc_context(STYLE):
        return draw_training(runs)


def draw_training(runs: Sequence[Run], min_accuracy: float | None = None) -> dict[str, str]:
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
    for (name, training), (colour, dashes) in zip(runs, looks(), strict=False):
        curves = training.curves
        if curves.loss and not name:
            _plot(axes, curves.loss, colour, label="raw", alpha=0.35, linewidth=1)
        _plot(axes, curves.loss_averaged, colour, name or "averaged", dashes)
        if not name:
            _plot(axes, curves.cross_entropy_averaged, SERIES[2], "cross-entropy")
        label = "" if name else "on eval"
        _plot(axes, curves.eval_loss, SERIES[1] if not name else colour, label, ":", "o")
    label_steps(axes)
    axes.set_ylabel("loss")
    start_at_zero(axes)
    legend_above(axes)
    ends = [(name, training.curves.loss_averaged) for name, training in runs]
    return as_svg(figure, _ends_at("Training loss", ends, "{:.3f}"))


def _draw_accuracy(runs: Sequence[Run], min_accuracy: float | None) -> str:
    figure, axes = new_figure()
    for (name, training), (colour, dashes) in zip(runs, looks(), strict=False):
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
    start_at_zero(axes)
    legend_above(axes)
    ends = [(name, training.curves.eval_accuracy) for name, training in runs]
    words = _ends_at("Accuracy on eval", ends, "{:.1%}")
    trained = [(name, t.curves.train_accuracy_averaged) for name, t in runs if not name]
    if any(points for _, points in trained):
        words += ". " + _ends_at("Accuracy on train batches", trained, "{:.1%}")
    return as_svg(figure, words)


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
    for (name, points), (colour, dashes) in zip(curves, looks(), strict=False):
        marker = "o" if len(points) <= MARKED_POINTS else ""
        _plot(axes, _percent(points), colour, name, dashes, marker, gid=SERIES_ID + name)
    label_steps(axes)
    axes.set_xlim(left=0)
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
    for (name, points), (colour, dashes) in zip(curves, looks(), strict=False):
        _plot(axes, points, colour, name, dashes, "o" if len(points) == 1 else "")
    label_steps(axes)
    axes.set_ylabel(label)
    start_at_zero(axes)
    if axes.dataLim.y1 >= 1000:
        axes.yaxis.set_major_formatter("{x:,.0f}")
    if len(curves) > 1:
        legend_above(axes)
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
