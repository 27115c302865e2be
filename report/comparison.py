"""Two runs beside each other: what differs in their settings, and what came of it."""

from typing import Any

import markupsafe

from report import page, plots
from report.runs import Record

# What a comparison of settings leaves out: places and names, not choices.
_PLACES = ("output_dir", "data_dir", "serving_dir", "metadata_url")
_METRICS = (
    ("accuracy on eval", "accuracy", "{:.2%}", "{:+.2%}"),
    ("right class among the first 3", "top_3_accuracy", "{:.2%}", "{:+.2%}"),
    ("cross-entropy on eval", "cross_entropy", "{:.3f}", "{:+.3f}"),
    ("training steps", "train_steps", "{:,}", "{:+,}"),
    ("images/s in training", "examples_per_second", "{:,.0f}", "{:+,.0f}"),
    ("seconds of the run", "seconds", "{:,.1f}", "{:+,.1f}"),
)

Run = tuple[Record, dict[str, Any]]  # the record and the facts


def render(first: Run, second: Run) -> str:
    """Returns a page that compares the second run with the first."""
    records = [run[0] for run in (first, second)]
    names = [record["run_id"] for record in records]
    trained = [
        (name, facts["training"])
        for name, (_, facts) in zip(names, (first, second), strict=True)
        if facts["training"]
    ]
    drawings = plots.draw_runs(trained) if trained else {}
    return (
        page.environment()
        .get_template("comparison.html")
        .render(
            names=names,
            records=records,
            metrics=compare_metrics(*records),
            classes=compare_classes(*records),
            settings=compare_settings(*records),
            stages=compare_stages(*records),
            plots={name: markupsafe.Markup(svg) for name, svg in drawings.items()},
        )
    )


def compare_metrics(first: Record, second: Record) -> list[tuple[str, str, str, str]]:
    """Returns (what, first, second, difference) of each metric, as text."""
    return [
        (name, *_row(first.get(key), second.get(key), form, difference))
        for name, key, form, difference in _METRICS
    ]


def compare_classes(first: Record, second: Record) -> list[tuple[str, str, str, str]]:
    """Returns (class, first, second, difference) of the accuracies, as text."""
    ours, theirs = (run.get("class_accuracy", {}) for run in (first, second))
    return [
        (name, *_row(ours.get(name), theirs.get(name), "{:.2%}", "{:+.2%}"))
        for name in dict.fromkeys([*ours, *theirs])
    ]


def compare_settings(first: Record, second: Record) -> list[tuple[str, Any, Any]]:
    """Returns (field, first, second) of each setting that differs."""
    ours, theirs = first["config"], second["config"]
    return [
        (name, ours.get(name, "–"), theirs.get(name, "–"))
        for name in dict.fromkeys([*ours, *theirs])
        if name not in _PLACES and ours.get(name) != theirs.get(name)
    ]


def compare_stages(first: Record, second: Record) -> list[tuple[str, str, str]]:
    """Returns (stage, first, second): the seconds of each stage, or that it was cached."""

    def told(record: Record, name: str) -> str:
        stage = record["stages"].get(name)
        if stage is None:
            return "not run"
        return "cached" if stage["cached"] else f"{stage['seconds']:.1f} s"

    names = dict.fromkeys([*first["stages"], *second["stages"]])
    return [(name, told(first, name), told(second, name)) for name in names]


def _row(first: Any, second: Any, form: str, difference: str) -> tuple[str, str, str]:
    """Returns both values and their difference as text; – for what is not there."""
    told = ["–" if value is None else form.format(value) for value in (first, second)]
    if first is None or second is None:
        return told[0], told[1], "–"
    return told[0], told[1], difference.format(second - first)
