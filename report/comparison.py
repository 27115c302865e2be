"""Two runs beside each other: what differs in their settings, and what came of it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import markupsafe

from report import page, plots
from report.facts import Facts
from report.run_record import RunRecord

# What a comparison of settings leaves out: places and names, not choices.
_PLACES = ("output_dir", "data_dir", "serving_dir", "metadata_url")


@dataclasses.dataclass(frozen=True)
class Run:
    """What is compared of a run."""

    record: RunRecord
    facts: Facts


@dataclasses.dataclass(frozen=True)
class Metric:
    """A number of a run, and how it and a difference are written."""

    name: str
    value: Callable[[RunRecord], float | None]
    form: str
    difference: str


_METRICS = (
    Metric("accuracy on eval", lambda run: run.accuracy, "{:.2%}", "{:+.2%}"),
    Metric(
        "right class among the first 3", lambda run: run.top_3_accuracy, "{:.2%}", "{:+.2%}"
    ),
    Metric("cross-entropy on eval", lambda run: run.cross_entropy, "{:.3f}", "{:+.3f}"),
    Metric("training steps", lambda run: run.train_steps, "{:,}", "{:+,}"),
    Metric("images/s in training", lambda run: run.examples_per_second, "{:,.0f}", "{:+,.0f}"),
    Metric("seconds of the run", lambda run: run.seconds, "{:,.1f}", "{:+,.1f}"),
)


def render(first: Run, second: Run) -> str:
    """Returns a page that compares the second run with the first."""
    runs = (first, second)
    records = (first.record, second.record)
    trained = [(run.record.run_id, run.facts.training) for run in runs if run.facts.training]
    drawings = plots.draw_runs(trained) if trained else {}
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


def compare_metrics(first: RunRecord, second: RunRecord) -> list[tuple[str, str, str, str]]:
    """Returns (what, first, second, difference) of each metric, as text."""
    return [
        (
            metric.name,
            *_row(metric.value(first), metric.value(second), metric.form, metric.difference),
        )
        for metric in _METRICS
    ]


def compare_classes(first: RunRecord, second: RunRecord) -> list[tuple[str, str, str, str]]:
    """Returns (class, first, second, difference) of the accuracies, as text."""
    ours, theirs = first.class_accuracy, second.class_accuracy
    return [
        (name, *_row(ours.get(name), theirs.get(name), "{:.2%}", "{:+.2%}"))
        for name in dict.fromkeys([*ours, *theirs])
    ]


def compare_settings(first: RunRecord, second: RunRecord) -> list[tuple[str, Any, Any]]:
    """Returns (field, first, second) of each setting that differs."""
    ours, theirs = first.config, second.config
    return [
        (name, ours.get(name, "–"), theirs.get(name, "–"))
        for name in dict.fromkeys([*ours, *theirs])
        if name not in _PLACES and ours.get(name) != theirs.get(name)
    ]


def compare_stages(first: RunRecord, second: RunRecord) -> list[tuple[str, str, str]]:
    """Returns (stage, first, second): the seconds of each stage, or that it was cached."""
    names = dict.fromkeys([*first.stages, *second.stages])
    return [(name, _duration(first, name), _duration(second, name)) for name in names]


def _duration(run: RunRecord, stage: str) -> str:
    """Returns how long a stage took, in words."""
    record = run.stages.get(stage)
    if record is None:
        return "not run"
    return "cached" if record.cached else f"{record.seconds:.1f} s"


def _row(
    first: float | None, second: float | None, form: str, difference: str
) -> tuple[str, str, str]:
    """Returns both values and their difference as text; – for what is not there."""
    texts = ["–" if value is None else form.format(value) for value in (first, second)]
    if first is None or second is None:
        return texts[0], texts[1], "–"
    return texts[0], texts[1], difference.format(second - first)
