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
_SHELL_WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|[^\s'"]|['"])+""")
_LABEL = re.compile(r" *(?:\S+(?: \S+)* {2,})?(?=\S)")


class Command(str):
    """A line that ends in a shell command. Folded, it can still be pasted."""

    __slots__ = ()


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


def say(*lines: str, err: bool = False) -> None:
    """Prints lines on standard output or standard error; a terminal gets them folded."""
    stream = sys.stderr if err else sys.stdout
    columns = width(stream)
    for text in lines:
        for line in text.split("\n") if "\n" in text else [text]:
            print(wrap(line, columns), file=stream, flush=True)


def wrap(line: str, width: int | None, indent: int | None = None) -> str:
    """Returns a line folded between words, with the following lines indented.

    A word that is longer than the terminal, such as a path, stays whole.

    Args:
        line: Without a newline. A Command continues after a backslash.
        width: Of the terminal; None: the line stays unchanged.
        indent: Of the following lines; None: up to the first word after a label and two
            spaces.
    """
    if width is None or cell_len(line) <= width:
        return line
    if isinstance(line, Command):
        return "\n".join(fold_command(line, width))
    if indent is None:
        label = re.match(r" *\S+ {2,}(?=\S)", line)
        indent = label.end() if label and label.end() < width // 2 else 4
    start = len(line) - len(line.lstrip())
    folded = textwrap.wrap(
        line.strip(),
        width,
        initial_indent=line[:start],
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(_moved_left(one, width) for one in folded)


def _moved_left(line: str, width: int) -> str:
    """Returns a line that is too wide for its indent further to the left, if it fits there."""
    words = line.lstrip()
    room = width - cell_len(words)
    return " " * room + words if 0 <= room < cell_len(line) - cell_len(words) else line


def fold_command(line: str, width: int) -> list[str]:
    """Returns a line with a shell command; a long one continues after a backslash.

    An option stays beside its value if both fit. A comment at the end moves to a line before.
    """
    if cell_len(line) <= width:
        return [line]
    command, _, comment = line.partition(" # ")
    label = _LABEL.match(command)
    start = label[0] if label else ""
    indent = " " * len(start)
    before = [f"{indent}# {comment}"] if comment else []
    first, *parts = _parts(command[len(start) :], width - len(indent) - len("     \\"))
    folded = [start + first]
    for part in parts:
        if cell_len(f"{folded[-1]} {part} \\") <= width:
            folded[-1] += f" {part}"
        else:
            folded[-1] += " \\"
            folded.append(f"{indent}    {part}")
    return [*before, *(_moved_left(one, width) for one in folded)]


def _parts(command: str, room: int) -> list[str]:
    """Returns the words of a command, an option with its value unless that is too wide."""
    parts: list[str] = []
    for word in _SHELL_WORD.findall(command):
        option = parts[-1] if parts and re.fullmatch(r"-\S+", parts[-1]) else ""
        is_value = option and not word.startswith(("-", "&", "|"))
        if is_value and cell_len(f"{option} {word}") <= room:
            parts[-1] += f" {word}"
        else:
            parts.append(word)
    return parts


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
