"""What `cifar drift` found: a table for the terminal, and a page with the distributions."""

from collections.abc import Sequence

import markupsafe

from contract import features
from contract.data_gate_record import Distance
from contract.drift_record import DriftRecord, LogCounts
from contract.terminal import Column, table_lines
from report import distributions, page

COLUMNS = (
    Column("feature"),
    Column("distance", is_number=True),
    Column("limit", is_number=True),
    Column("verdict"),
    Column("measure", rank=1),
)
DRIFTED, OK = "DRIFTED", "ok"


def as_lines(record: DriftRecord, width: int | None) -> list[str]:
    """Returns what was compared, and a table of the features, for a terminal."""
    comparison, counts = record.comparison, record.counts
    return [
        f"Version   {record.version} of {record.model}, trained on "
        f"{comparison.other_images:,} images",
        f"Requests  {counts.requests:,} with {counts.images - counts.bad_images:,} images in "
        f"{counts.files:,} file{'' if counts.files == 1 else 's'}",
        *(f"{'':<10}{words}: {number:,}" for words, number in remarks(counts) if number),
        "",
        *table_lines(COLUMNS, list(map(row, comparison.distances)), width),
    ]


def remarks(counts: LogCounts) -> list[tuple[str, int]]:
    """Returns what else was in the logs, and how much of it."""
    return [
        ("requests to other models or versions, skipped", counts.of_others),
        ("other records, skipped", counts.unreadable),
        ("incomplete files, read up to the last whole record", len(counts.incomplete)),
        ("images that cannot be decoded, skipped", counts.bad_images),
        ("images of a single colour", counts.constant),
    ]


def row(distance: Distance) -> tuple[str, ...]:
    """Returns a feature with its distance, limit, verdict and the kind of distance."""
    return (
        name_of(distance),
        f"{distance.value:.3f}",
        f"{distance.limit:.3f}",
        DRIFTED if distance.is_above else OK,
        distance.measure,
    )


def name_of(distance: Distance) -> str:
    """Returns the feature in words."""
    return "predicted class" if distance.feature == features.LABEL else distance.feature


def title(record: DriftRecord) -> str:
    """Returns the verdict in a few words."""
    names = [name_of(one) for one in record.comparison.distances if one.is_above]
    return f"Drifted: {', '.join(names)}" if names else "No drift"


def render(record: DriftRecord) -> str:
    """Returns the self-contained HTML page, with both distributions of each feature."""
    return (
        page.environment()
        .get_template("drift.html")
        .render(
            title=title(record),
            record=record,
            rows=list(map(row, record.comparison.distances)),
            headings=[column.name for column in COLUMNS],
            remarks=[(words, f"{number:,}") for words, number in remarks(record.counts)],
            plots=_plots(record.comparison.distances),
        )
    )


def _plots(distances: Sequence[Distance]) -> list[tuple[str, markupsafe.Markup]]:
    """Returns the drawing of each feature with its caption."""
    return [
        (
            f"{name_of(one)}: distance {one.value:.3f}, at most {one.limit:.3f} is allowed",
            markupsafe.Markup(distributions.draw(one, "served", "trained on")),
        )
        for one in distances
    ]
