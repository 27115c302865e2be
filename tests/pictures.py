"""Pictures of what a terminal shows, for people to look at."""

import io
import itertools
import re
from pathlib import Path

import pyte
import rich.console
import rich.style
import rich.text

MOST_LINES = 600


def draw(shown: str, path: Path, columns: int) -> None:
    """Writes an SVG of what a terminal shows after it received some text."""
    screen = pyte.Screen(columns, MOST_LINES)
    pyte.Stream(screen).feed(shown)
    used = max((n for n, line in enumerate(screen.display) if line.strip()), default=0)
    console = rich.console.Console(
        record=True,
        width=columns,
        file=io.StringIO(),
        color_system="truecolor",
        highlight=False,
    )
    for number in range(used + 1):
        line = rich.text.Text(no_wrap=True)
        cells = [screen.buffer[number][column] for column in range(columns)]
        for style, run in itertools.groupby(cells, _style):
            line.append("".join(cell.data for cell in run), style)
        console.print(line, crop=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    console.save_svg(str(path), title=path.stem)


def _style(cell: pyte.screens.Char) -> rich.style.Style:
    return rich.style.Style(
        color=_colour(cell.fg), bgcolor=_colour(cell.bg), bold=cell.bold, reverse=cell.reverse
    )


def _colour(name: str) -> str | None:
    if re.fullmatch("[0-9a-f]{6}", name):
        return f"#{name}"
    names = {"default": None, "brown": "yellow"}
    return names.get(name, re.sub("^bright(?=[a-z])", "bright_", name))
