"""The graph of the pipeline as SVG: each stage is below the stages that it waits for."""

import html
from collections.abc import Mapping, Sequence

from contract.progress import duration
from report.stages import StageStatus

WIDTH, HEIGHT = 300, 50  # of a stage's box
GAP_X, GAP_Y = 28, 24
MARGIN = 4

Upstream = Mapping[str, Sequence[str]]  # by the name of a stage: what it waits for


def draw(stages: Sequence[StageStatus], upstream: Upstream) -> str:
    """Returns the stages from top to bottom, with an arrow from each to those that wait for it.

    Args:
        stages: The status of each stage, in the order of the run.
        upstream: The stages that each stage waits for.
    """
    places = _places([stage.name for stage in stages], upstream)
    right = max(x for x, _ in places.values()) + WIDTH + MARGIN
    bottom = max(y for _, y in places.values()) + HEIGHT + MARGIN
    shown = [
        *(
            _arrow(places[before], places[name])
            for name in places
            for before in _direct(name, upstream)
        ),
        *(_box(stage, *places[stage.name]) for stage in stages),
    ]
    words = ". ".join(
        f"{stage.name}: {_state(stage)}"
        + (
            f", after {' and '.join(before)}"
            if (before := _direct(stage.name, upstream))
            else ""
        )
        for stage in stages
    )
    return (
        f'<svg class="graph" viewBox="0 0 {right} {bottom}" role="img" '
        f'aria-label="The pipeline. {html.escape(words)}">'
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="var(--muted)"/></marker>'
        f"</defs>{''.join(shown)}</svg>"
    )


def _direct(name: str, upstream: Upstream) -> list[str]:
    """Returns the stages that a stage waits for directly."""
    waits_for = list(upstream.get(name, ()))
    return [
        one
        for one in waits_for
        if not any(one in _all_before(other, upstream) for other in waits_for if other != one)
    ]


def _all_before(name: str, upstream: Upstream) -> set[str]:
    found = set(upstream.get(name, ()))
    return found.union(*(_all_before(one, upstream) for one in found))


def _places(names: Sequence[str], upstream: Upstream) -> dict[str, tuple[int, int]]:
    """Returns the upper left corner of each box; a row for each distance from the first."""
    rows: dict[str, int] = {}
    for name in names:
        before = [rows[one] for one in upstream.get(name, ()) if one in rows]
        rows[name] = max(before, default=-1) + 1
    taken: dict[int, int] = {}
    places = {}
    for name, row in rows.items():
        column = taken.get(row, 0)
        taken[row] = column + 1
        places[name] = (MARGIN + column * (WIDTH + GAP_X), MARGIN + row * (HEIGHT + GAP_Y))
    return places


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    x0, y0 = start[0] + WIDTH // 2, start[1] + HEIGHT
    x1, y1 = end[0] + WIDTH // 2, end[1] - 2
    turn = end[1] - GAP_Y  # down its own column first, past the boxes beside it
    bend = turn + GAP_Y // 2
    return (
        f'<path class="arrow" marker-end="url(#arrow)" '
        f'd="M{x0} {y0}V{turn}C{x0} {bend} {x1} {bend} {x1} {y1}"/>'
    )


def _box(stage: StageStatus, x: int, y: int) -> str:
    return (
        f'<g class="{stage.status.replace(" ", "-")}">'
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
        f'<text x="{x + 12}" y="{y + 21}" class="name">{html.escape(stage.name)}</text>'
        f'<text x="{x + WIDTH - 12}" y="{y + 21}" text-anchor="end">'
        f"{html.escape(_state(stage))}</text>"
        f'<text x="{x + 12}" y="{y + 39}" class="state">{html.escape(stage.what)}</text></g>'
    )


def _state(stage: StageStatus) -> str:
    seconds = f" · {duration(stage.seconds)}" if stage.seconds is not None else ""
    return f"{stage.status}{seconds}"
