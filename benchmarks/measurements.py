"""Writes the tables of docs/measurements.md from the JSON in docs/measurements/.

First `cifar bench NAME --json > docs/measurements/NAME.json`, then
`python -m benchmarks.measurements`. A table stands between `<!-- NAME -->` and
`<!-- end -->`; the words around it stay.
"""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "measurements.md"
BLOCK = re.compile(r"(<!-- ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    """Updates the numbers on the page."""
    PAGE.write_text(with_tables(PAGE.read_text()))


def with_tables(text: str) -> str:
    """Returns the page with every table filled from the JSON.

    Raises:
        KeyError: There is no table with that name.
    """

    def block(match: re.Match[str]) -> str:
        begin, name, end = match.groups()
        return f"{begin}{chr(10).join(TABLES[name]())}\n{end}"

    return BLOCK.sub(block, text)


def read(name: str) -> Any:
    """Returns the measurements with a name."""
    return json.loads((DOCS / "measurements" / f"{name}.json").read_text())


def targets_of(name: str) -> Callable[[], Iterable[str]]:
    """Returns a function that makes the table of a benchmark: goals and results."""

    def table() -> Iterable[str]:
        report = read(name)
        where = f"{report['cores']} cores of an {report['cpu']}"
        yield f"`cifar bench {name}`, {report['date']}, {where}:"
        yield ""
        yield "| measured | here | goal | reached |"
        yield "|---|---|---|---|"
        for target in report["targets"]:
            bound = "at least" if target["is_minimum"] else "at most"
            yield (
                f"| {target['name']} | {quantity(target['measured'], target['unit'])} | "
                f"{bound} {quantity(target['wanted'], target['unit'])} | "
                f"{'yes' if target['is_met'] else 'no'} |"
            )

    return table


def quantity(value: float, unit: str) -> str:
    """Returns a number of three digits with its unit: `80.2%`, `1,500 images/s`."""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return text + unit if unit == "%" else f"{text} {unit}".replace("× faster", "times as fast")


def accuracy() -> Iterable[str]:
    """Yields the table of the presets."""
    yield "| preset | steps | accuracy on `eval` | seeds | training time |"
    yield "|---|---|---|---|---|"
    for name, preset in read("accuracy")["presets"].items():
        found = preset["accuracy_by_seed"]
        mean = sum(found.values()) / len(found)
        each = ", ".join(f"{seed}: {value:.1%}" for seed, value in found.items())
        minutes, seconds = divmod(round(preset["training_seconds"]), 60)
        yield (
            f"| `{name}` | {preset['steps']:,} | {mean:.1%} | {each} | "
            f"{minutes} min {seconds:02d} s |"
        )


def accuracy_over_steps() -> Iterable[str]:
    """Yields the table of `best` on its way."""
    points = read("accuracy")["presets"]["best"]["curve"]
    yield "| `best`, step | " + " | ".join(f"{one['step']:,}" for one in points) + " |"
    yield "|---" * (len(points) + 1) + "|"
    yield (
        "| mean of the seeds | " + " | ".join(f"{one['accuracy']:.1%}" for one in points) + " |"
    )


def settings_tried() -> Iterable[str]:
    """Yields the table of settings that were tried on held-out images."""
    yield "| setting tried | steps | held-out accuracy |"
    yield "|---|---|---|"
    for one in read("settings-tried")["tried"]:
        found = one["accuracy"]
        text = found if isinstance(found, str) else f"{found:.1%}"
        yield f"| {one['setting']} | {one['steps']:,} | {text} |"


def faults() -> Iterable[str]:
    """Yields the table of the fault trials."""
    yield "| trial | times | failed |"
    yield "|---|---|---|"
    for one in read("faults")["trials"]:
        yield f"| {one['trial']} | {one['times']} | {one['failed']} |"


TABLES: dict[str, Callable[[], Iterable[str]]] = {
    "accuracy": accuracy,
    "accuracy-over-steps": accuracy_over_steps,
    "settings-tried": settings_tried,
    "faults": faults,
    **{name: targets_of(name) for name in ("training", "pipeline", "serving")},
}

if __name__ == "__main__":
    main()
