"""Fits text to a terminal without breaking words. Text for a pipe stays unchanged."""

import dataclasses
import re
import sys
import textwrap
from collections.abc import Sequence
from typing import TextIO

import rich.console
from rich.cells import cell_len

GAP = "  "
SHORTEST = 8  # characters left of a cell that is cut


@dataclasses.dataclass(frozen=True)
class Column:
    """How a column is shown.

    Attributes:
        name: Its header.
        is_number: Whether its cells are right-aligned.
        cut: `start` or `end`: where a cell may be shortened; empty: never.
        rank: The highest ranks are dropped first if not all columns fit; 0: never dropped.
    """

    name: str
    is_number: bool = False
    cut: str = ""
    rank: int = 0


def printable(text: str) -> str:
    r"""Returns text with control characters and stray bytes written as `\x1b`."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def width(stream: TextIO | None = None) -> int | None:
    """Returns the columns of a terminal, by default standard output; None for a pipe."""
    stream = stream or sys.stdout
    return rich.console.Console(file=stream).width if stream.isatty() else None


def wrap(line: str, width: int | None, indent: int | None = None) -> str:
    """Returns a line folded between words, with the following lines indented.

    A word that is longer than the terminal, such as a path, stays whole.

    Args:
        line: Without a newline.
        width: Of the terminal; None: the line stays unchanged.
        indent: Of the following lines; None: up to the first word after a label and two
            spaces.
    """
    if width is None or cell_len(line) <= width:
        return line
    if indent is None:
        label = re.match(r" *\S+ {2,}(?=\S)", line)
        indent = label.end() if label and label.end() < width // 2 else 4
    start = len(line) - len(line.lstrip())
    return "\n".join(
        textwrap.wrap(
            line.strip(),
            width,
            initial_indent=line[:start],
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def table_lines(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None = None
) -> list[str]:
    """Returns the header and a line for each row; no line is wider than `width`.

    Args:
        columns: The columns of the table.
        rows: A cell for each column. Control characters are made visible.
        width: Of the terminal; None: no limit.
    """
    cells = [[printable(cell) for cell in row] for row in [[c.name for c in columns], *rows]]
    kept = list(range(len(columns)))
    widths = [max(cell_len(row[number]) for row in cells) for number in kept]

    def excess() -> int:
        gaps = len(GAP) * (len(kept) - 1)
        return sum(widths[number] for number in kept) + gaps - (width or sys.maxsize)

    for number in sorted(kept, key=lambda n: columns[n].rank, reverse=True):
        if excess() > 0 and columns[number].rank:
            kept.remove(number)
    for number in kept:
        if columns[number].cut and excess() > 0:
            widths[number] = max(widths[number] - excess(), SHORTEST)
    return [
        GAP.join(_fitted(row[number], widths[number], columns[number]) for number in kept)
        .rstrip()
        for row in cells
    ]  # fmt: skip


def _fitted(cell: str, width: int, column: Column) -> str:
    if cell_len(cell) > width:
        while cell_len(cell) >= width:
            cell = cell[1:] if column.cut == "start" else cell[:-1]
        cell = f"…{cell}" if column.cut == "start" else f"{cell}…"
    space = " " * (width - cell_len(cell))
    return space + cell if column.is_number else cell + space
