"""The page of a search: the trials, their results, and which settings mattered."""

from collections.abc import Sequence
from typing import Any

import markupsafe
import matplotlib
from matplotlib.axes import Axes

from contract.search_record import SearchRecord, Trial
from report import drawing, page
from report.drawing import LINE, SERIES

_OUTCOME_COLOURS = {"ended": SERIES[0], "stopped": LINE, "failed": SERIES[3]}


def render(record: SearchRecord) -> str:
    """Returns the page of a search, self-contained HTML."""
    best_first = sorted(record.trials, key=lambda trial: trial.accuracy or 0.0, reverse=True)
    names = list(record.best.values)
    environment = page.environment()
    environment.filters["short"] = in_words
    fixed = [item for item in record.hyper_parameters.items() if item[0] not in names]
    return environment.get_template("search.html").render(
        record=record,
        names=names,
        rows=[_row(trial, names) for trial in best_first],
        space=[setting.split("=", 1) for setting in record.space],
        fixed=fixed,
        plots={name: markupsafe.Markup(svg) for name, svg in draw(record).items()},
    )


def _row(trial: Trial, names: Sequence[str]) -> list[str]:
    return [
        f"trial-{trial.number:03d}",
        *(in_words(trial.values.get(name, "–")) for name in names),
        "–" if trial.accuracy is None else f"{trial.accuracy:.2%}",
        trial.outcome if not trial.curve else f"{trial.outcome} at {trial.curve[-1][0]:,}",
        f"{trial.seconds:,.0f} s",
    ]


def in_words(value: Any) -> str:
    """Returns a value as text; numbers have three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def draw(record: SearchRecord) -> dict[str, str]:
    """Returns the SVG of each plot by name, without those that need more trials."""
    with matplotlib.rc_context(drawing.STYLE):
        drawings = {"curves": draw_curves(record), "coordinates": draw_coordinates(record)}
        if record.importance:
            drawings["importance"] = draw_importance(record)
        return drawings


def draw_curves(record: SearchRecord) -> str:
    """Returns the accuracy of each trial over its steps, the best one in colour."""
    figure, axes = drawing.new_figure()
    for trial in record.trials:
        steps, values = zip(*trial.curve, strict=True) if trial.curve else ((), ())
        is_best = trial == record.best
        axes.plot(
            steps,
            [value * 100 for value in values],
            color=SERIES[0] if is_best else LINE,
            marker="o",
            markersize=4 if is_best else 2,
            linewidth=1.8 if is_best else 1,
            zorder=3 if is_best else 2,
        )
    drawing.label_steps(axes)
    axes.set_ylabel("held-out accuracy, %")
    best = record.best.accuracy or 0.0
    return drawing.as_svg(
        figure, f"Accuracy of every trial over its steps. The best: {best:.2%}"
    )


def draw_importance(record: SearchRecord) -> str:
    """Returns bars of the importance of each hyper-parameter."""
    figure, axes = drawing.new_figure(height=1 + 0.35 * len(record.importance))
    for name, share in record.importance.items():
        bar = axes.barh(name, share * 100, 0.55, color=SERIES[0])
        axes.bar_label(bar, [f"{share:.0%}"], padding=3)
    axes.invert_yaxis()
    axes.set_xlim(0, 112)
    axes.set_xlabel("% of the differences in accuracy")
    axes.grid(visible=False, axis="y")
    shares = ", ".join(f"{name} {share:.0%}" for name, share in record.importance.items())
    return drawing.as_svg(figure, f"Importance of each hyper-parameter: {shares}")


def draw_coordinates(record: SearchRecord) -> str:
    """Returns parallel coordinates: a line for each trial through its values and accuracy."""
    names = list(record.best.values)
    figure, axes = drawing.new_figure()
    tried = [trial for trial in record.trials if trial.accuracy is not None]
    heights = [
        *(_heights([trial.values.get(name) for trial in tried]) for name in names),
        _heights([trial.accuracy for trial in tried]),
    ]
    for number, trial in enumerate(tried):
        is_best = trial == record.best
        axes.plot(
            range(len(heights)),
            [column[number] for column in heights],
            color=SERIES[0] if is_best else _OUTCOME_COLOURS[trial.outcome],
            alpha=1 if is_best or trial.outcome != "ended" else 0.35,
            linewidth=2.4 if is_best else 1,
            zorder=3 if is_best else 2,
        )
    for place, name in enumerate(names):
        _label_ends(axes, place, [trial.values.get(name) for trial in tried])
    _label_ends(axes, len(names), [trial.accuracy for trial in tried])
    axes.set_xticks(range(len(heights)), [*names, "accuracy"], rotation=15, fontsize=9)
    axes.set_yticks([])
    axes.set_ylim(-0.12, 1.12)
    axes.grid(visible=False, axis="y")
    best = ", ".join(f"{name} {in_words(value)}" for name, value in record.best.values.items())
    return drawing.as_svg(figure, f"Values and accuracy of every trial. The best: {best}")


def _heights(values: Sequence[Any]) -> list[float]:
    """Returns the rank of each value, scaled to 0 for the lowest and 1 for the highest.

    Ranks suit linear and logarithmic ranges alike.
    """
    order = sorted(set(values), key=_sort_key)
    return [order.index(value) / max(1, len(order) - 1) for value in values]


def _label_ends(axes: Axes, place: int, values: Sequence[Any]) -> None:
    order = sorted(set(values), key=_sort_key)
    for value, height, side in ((order[0], -0.02, "top"), (order[-1], 1.02, "bottom")):
        axes.text(place, height, in_words(value), ha="center", va=side, fontsize=9)


def _sort_key(value: Any) -> tuple[bool, Any]:
    return (isinstance(value, str), value)
