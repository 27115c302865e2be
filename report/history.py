"""One page about every run of an output folder: accuracy, gate decisions, changes."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import markupsafe

from contract.files import PAGE_FILE
from report import page, plots, runs, versions
from report.comparison import PLACES
from report.intervals import wilson
from report.run_record import RunRecord


@dataclasses.dataclass(frozen=True)
class Row:
    """A run in the table.

    Attributes:
        interval: The 95% confidence interval of the accuracy; None without one.
        changes: Each setting that differs from the run before, as `field: before → now`.
        bytes: The size of the model; None if the model was deleted.
        page: The path of its report, relative to the output folder; empty if it has none.
    """

    record: RunRecord
    is_retired: bool
    interval: tuple[float, float] | None
    changes: Sequence[str]
    bytes: int | None
    page: str

    @property
    def data(self) -> str:
        """Returns where the data came from, and the start of their fingerprint."""
        fingerprint = str(self.record.config.get("data_fingerprint", ""))[:8]
        return " ".join(filter(None, (self.record.data_source, fingerprint)))


def render(records: Sequence[RunRecord], output: Path) -> str:
    """Returns the page of all runs.

    Args:
        records: The runs of the output folder, oldest first.
        output: The output folder, where the page will be.
    """
    rows = rows_of(records, output)
    measured = [
        plots.MeasuredRun(one.run_id, one.status, one.accuracy, *row.interval)
        for row in rows
        if (one := row.record).accuracy is not None and row.interval
    ]
    return (
        page.environment()
        .get_template("history.html")
        .render(
            rows=rows,
            output=output.name,
            statuses=list(dict.fromkeys(row.record.status for row in rows)),
            plot=markupsafe.Markup(plots.draw_history(measured)) if measured else None,
            compared=[_compared(record) for record in records],
            versions=versions_of(records),
        )
    )


def versions_of(records: Sequence[RunRecord]) -> list[versions.VersionSummary]:
    """Returns every version in the serving folder of the last run, newest first."""
    if not records:
        return []
    return versions.summarize(records[-1].settings.serving_model_dir.resolve(), records)[::-1]


def rows_of(records: Sequence[RunRecord], output: Path) -> list[Row]:
    """Returns a row for each run, in the same order."""
    before: Sequence[RunRecord | None] = (None, *records)
    return [
        _row(record, earlier, output) for record, earlier in zip(records, before, strict=False)
    ]


def _row(record: RunRecord, earlier: RunRecord | None, output: Path) -> Row:
    own_page = output / "runs" / record.run_id / PAGE_FILE
    return Row(
        record=record,
        is_retired=runs.summary(record).is_retired,
        interval=interval_of(record),
        changes=changes_between(earlier, record) if earlier else (),
        bytes=model_bytes(record),
        page=str(own_page.relative_to(output)) if own_page.is_file() else "",
    )


def interval_of(record: RunRecord) -> tuple[float, float] | None:
    """Returns the 95% confidence interval of a run's accuracy; None without one."""
    if record.accuracy is None or not record.eval_examples:
        return None
    return wilson(record.accuracy, record.eval_examples)


def changes_between(earlier: RunRecord, record: RunRecord) -> list[str]:
    """Returns each setting that differs, as `field: before → now`."""
    before, now = earlier.config, record.config
    return [
        f"{name}: {_short(before.get(name, '–'))} → {_short(now.get(name, '–'))}"
        for name in dict.fromkeys([*before, *now])
        if name not in PLACES and before.get(name) != now.get(name)
    ]


def model_bytes(record: RunRecord) -> int | None:
    """Returns the size of the model a run made; None if it is no longer on this machine."""
    for place in (record.pushed_path, record.uri("Trainer", "model")):
        if place and Path(place).is_dir():
            return sum(path.stat().st_size for path in Path(place).rglob("*") if path.is_file())
    return None


def _short(value: Any) -> str:
    text = str(value)
    return f"{text[:8]}…" if len(text) == 64 else text  # a SHA-256


def _compared(record: RunRecord) -> Mapping[str, Any]:
    """Returns the data of a run that the page's script compares."""
    settings = {name: value for name, value in record.config.items() if name not in PLACES}
    evaluations = record.training.evaluations if record.training else ()
    return {
        "id": record.run_id,
        "numbers": {
            "accuracy": record.accuracy,
            "top-3 accuracy": record.top_3_accuracy,
            "cross-entropy": record.cross_entropy,
            "training steps": record.train_steps,
            "images/s in training": record.examples_per_second,
            "seconds": record.seconds,
        },
        "settings": {name: str(value) for name, value in settings.items()},
        "classes": dict(record.class_accuracy),
        "stages": {
            name: "cached" if stage.cached else f"{stage.seconds:.1f} s"
            for name, stage in record.stages.items()
        },
        "evaluations": [[one.step, one.accuracy] for one in evaluations],
    }
