"""A comparison of runs: how their settings and their results differ."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import markupsafe

from report import page, training_plots
from report.facts import Facts
from report.run_record import RunRecord

# Settings that a comparison omits: places and names.
PLACES = ("output_dir", "data_dir", "serving_dir", "metadata_url")


@dataclasses.dataclass(frozen=True)
class Run:
    """A run to compare."""

    record: RunRecord
    facts: Facts


@dataclasses.dataclass(frozen=True)
class Metric:
    """A number of a run, and the formats of its value and of a change."""

    name: str
    value: Callable[[RunRecord], float | None]
    form: str
    change: str


PERCENT, POINTS = "{:.1%}", "{:+.1f} points"
METRICS = (
    Metric("accuracy", lambda run: run.accuracy, PERCENT, POINTS),
    Metric("top-3 accuracy", lambda run: run.top_3_accuracy, PERCENT, POINTS),
    Metric("top-5 accuracy", lambda run: run.top_5_accuracy, PERCENT, POINTS),
    Metric("cross-entropy", lambda run: run.cross_entropy, "{:.3f}", "{:+.3f}"),
    Metric("training steps", lambda run: run.train_steps, "{:,}", "{:+,}"),
    Metric("images/s in training", lambda run: run.examples_per_second, "{:,.0f}", "{:+,.0f}"),
    Metric("seconds of the run", lambda run: run.seconds, "{:,.1f}", "{:+,.1f}"),
)


def render(compared: Sequence[Run]) -> str:
    """Returns a page that compares runs; changes are relative to the first."""
    records = [run.record for run in compared]
    trained = [
        (run.record.run_id, run.facts.training) for run in compared if run.facts.training
    ]
    drawings = training_plots.draw_runs(trained) if trained else {}
    return (
        page.environment()
        .get_template("comparison.html")
        .render(
            names=[record.run_id for record in records],
            records=records,
            metrics=compare_metrics(*records),
            classes=compare_classes(*records),
            settings=compare_settings(*records),
            stages=compare_stages(*records),
            plots={name: markupsafe.Markup(svg) for name, svg in drawings.items()},
        )
    )


def measured(*records: RunRecord) -> list[Metric]:
    """Returns the metrics that at least one of the runs has."""
    return [one for one in METRICS if any(one.value(run) is not None for run in records)]


def compare_metrics(*records: RunRecord) -> list[tuple[str, ...]]:
    """Returns (what, a cell for each run) of each metric, as text."""
    return [
        (metric.name, *_row([metric.value(one) for one in records], metric.form, metric.change))
        for metric in measured(*records)
    ]


def compare_classes(*records: RunRecord) -> list[tuple[str, ...]]:
    """Returns (class, a cell for each run) of the accuracies, as text."""
    names = dict.fromkeys(name for one in records for name in one.class_accuracy)
    return [
        (name, *_row([one.class_accuracy.get(name) for one in records], PERCENT, POINTS))
        for name in names
    ]


def compare_settings(*records: RunRecord) -> list[tuple[Any, ...]]:
    """Returns (field, the value in each run) of each setting that differs."""
    names = dict.fromkeys(name for one in records for name in one.config)
    rows = [
        (name, *(one.config.get(name, "–") for one in records))
        for name in names
        if name not in PLACES
    ]
    return [row for row in rows if any(value != row[1] for value in row[2:])]


def compare_stages(*records: RunRecord) -> list[tuple[str, ...]]:
    """Returns (stage, a cell for each run): seconds, or that the stage was cached."""
    names = dict.fromkeys(name for one in records for name in one.stages)
    return [(name, *(_duration(one, name) for one in records)) for name in names]


def _duration(run: RunRecord, stage: str) -> str:
    """Returns how long a stage took, in words."""
    record = run.stages.get(stage)
    if record is None:
        return "not run"
    return "cached" if record.cached else f"{record.seconds:.1f} s"


def _row(values: Sequence[float | None], form: str, change: str) -> list[str]:
    """Returns values as text; from the second on, with the change from the first."""
    first = values[0]
    texts = ["–" if value is None else form.format(value) for value in values]
    for number, value in enumerate(values[1:], 1):
        if value is not None and first is not None:
            scale = 100 if change == POINTS else 1
            texts[number] += f" ({change.format(scale * (value - first))})"
    return texts
