"""Spans: data that arrive over time, each in a folder span-<number> of the data folder.

What is in the data folder itself is span 0.
"""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

ALL = "all"
OWN = ""  # the name of span 0

_NAME = re.compile(r"span-([1-9]\d*)")
_RANGE = re.compile(r"(\d+):(\d+)")
_LAST = re.compile(r"last:([1-9]\d*)")
_ALIKE = re.compile(r"span[-_ ]?(\d+)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Span:
    """A part of the data; `name` is its folder below the data folder."""

    number: int
    name: str = OWN

    @property
    def title(self) -> str:
        """Returns the name for messages."""
        return self.name or "the folder itself"

    def path_of(self, name: str) -> str:
        """Returns the path of a file of the span, below the data folder."""
        return f"{self.name}/{name}" if self.name else name


def number_of(name: str) -> int | None:
    """Returns the number of the span in a folder of this name; None if it is not a span."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def find(directory: Path) -> list[Span]:
    """Returns the spans in folders of their own, by number; none without such folders."""
    numbers = {
        path.name: number
        for path in directory.iterdir()
        if path.is_dir() and (number := number_of(path.name)) is not None
    }
    return [Span(number, name) for name, number in sorted(numbers.items(), key=lambda x: x[1])]


def resembles(name: str) -> bool:
    """Returns whether a name is that of a span, or nearly."""
    return bool(_ALIKE.fullmatch(name))


def misnamed(directory: Path) -> list[str]:
    """Returns a line for each folder that is not a span but whose name resembles one."""
    names = sorted(path.name for path in directory.iterdir() if path.is_dir())
    return [
        f"{name} is not the name of a span: rename it to span-{int(match[1]) or 1} (span-<n>, "
        "where n is 1 or more, without leading zeros)"
        for name in names
        if number_of(name) is None and (match := _ALIKE.fullmatch(name))
    ]


def check(selection: str) -> None:
    """Raises ValueError unless a selection is `all`, `last:N` or `FROM:TO`."""
    match = _RANGE.fullmatch(selection)
    is_range = match and int(match[1]) <= int(match[2])
    if selection != ALL and not _LAST.fullmatch(selection) and not is_range:
        raise ValueError(
            "spans must be all, last:N (N ≥ 1) or FROM:TO (the numbers of the first and the "
            f"last span, FROM ≤ TO), got {selection!r}."
        )


def choose(found: Sequence[Span], selection: str) -> list[Span]:
    """Returns the selected spans, by number.

    Args:
        found: All spans, by number.
        selection: `all`, `last:N` for those with the highest numbers, or `FROM:TO`.

    Raises:
        ValueError: The selection is none of these, or selects nothing.
    """
    check(selection)
    chosen = list(found)
    if match := _LAST.fullmatch(selection):
        chosen = chosen[-int(match[1]) :]
    if match := _RANGE.fullmatch(selection):
        first, last = int(match[1]), int(match[2])
        chosen = [span for span in chosen if first <= span.number <= last]
    if not chosen:
        there = ", ".join(str(span.number) for span in found)
        raise ValueError(f"spans={selection} selects nothing; there is: {there}.")
    return chosen


def in_words(chosen: Sequence[Span]) -> str:
    """Returns the selection of exactly these spans of all that there are, as FROM:TO."""
    return f"{chosen[0].number}:{chosen[-1].number}"
