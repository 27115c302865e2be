"""Writes the tables of docs/measurements.md from the JSON in docs/measurements/.

First `cifar bench NAME --json > docs/measurements/NAME.json`, then
`python -m benchmarks.measurements`. A table stands between `<!-- NAME -->` and
`<!-- end -->`; the words around it stay. OPTIONAL benchmarks, which take long, have a section
of their own there, which is empty until their file exists.
"""

import json
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from contract import records
from contract.progress import duration
from contract.search_record import SearchRecord

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "measurements.md"
BLOCK = re.compile(r"(<!-- ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
MOST_COLUMNS = 8  # of the accuracies on the way


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
        if name in OPTIONAL and not path_of(name).exists():
            return begin + end
        return f"{begin}{chr(10).join(TABLES[name]())}\n{end}"

    return BLOCK.sub(block, text)


def path_of(name: str) -> Path:
    """Returns the file of the measurements with a name."""
    return DOCS / "measurements" / f"{name}.json"


def read(name: str) -> Any:
    """Returns the measurements with a name."""
    return json.loads(path_of(name).read_text())


def origin(command: str, report: Mapping[str, Any]) -> Iterable[str]:
    """Yields how, when and where something was measured, and any note about that.

    Args:
        command: What measures it, unless the report names another command.
        report: The measurements.
    """
    command = report.get("command", command)
    machine = f", {report['cores']} cores ({report['cpu']})" if "cpu" in report else ""
    text = f"`{command}`, {report['date']}{machine}. {report.get('note', '')}"
    yield from textwrap.wrap(text, 100, break_on_hyphens=False)
    yield ""


def targets_of(name: str, command: str = "") -> Callable[[], Iterable[str]]:
    """Returns a function that makes the table of a benchmark: goals and results."""

    def table() -> Iterable[str]:
        report = read(name)
        yield from origin(command or f"cifar bench {name}", report)
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


def section(
    title: str, name: str, words: str, command: str = ""
) -> Callable[[], Iterable[str]]:
    """Returns a function that makes a section: its title, its table and words about it."""

    def lines() -> Iterable[str]:
        yield f"## {title}"
        yield ""
        yield from targets_of(name, command)()
        yield ""
        yield from textwrap.wrap(words, 100, break_on_hyphens=False)

    return lines


def quantity(value: float, unit: str) -> str:
    """Returns a number of three digits with its unit: `80.2%`, `1,500 images/s`."""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    words = {"× faster": "times as fast", "×": "times"}
    return text + unit if unit == "%" else f"{text} {words.get(unit, unit)}"


def accuracy() -> Iterable[str]:
    """Yields the table of the presets."""
    report = read("accuracy")
    yield from origin("cifar bench accuracy", report)
    yield "| preset | steps | accuracy on `eval` | seeds | training time |"
    yield "|---|---|---|---|---|"
    for name, preset in report["presets"].items():
        found = preset["accuracy_by_seed"]
        mean = sum(found.values()) / len(found)
        each = ", ".join(f"{seed}: {value:.1%}" for seed, value in found.items())
        steps, time = f"{preset['steps']:,}", duration(preset["training_seconds"])
        yield row(f"`{name}`", steps, f"{mean:.1%}", each, time)


def accuracy_over_steps() -> Iterable[str]:
    """Yields a table of each preset on its way: the mean of the seeds and their spread."""
    for number, (name, preset) in enumerate(read("accuracy")["presets"].items()):
        if number:
            yield ""
        points = preset["curve"]
        stride = -(-len(points) // MOST_COLUMNS)
        points = points[::-1][::stride][::-1]
        has_spread = len(preset["accuracy_by_seed"]) > 1
        yield row(f"`{name}`, step", *(f"{one['step']:,}" for one in points))
        yield "|---" * (len(points) + 1) + "|"
        yield row("Trainer", *(duration(one["seconds"]) for one in points))
        yield row(
            "mean ± standard deviation" if has_spread else "one seed",
            *(
                f"{one['accuracy']:.1%}" + (f" ± {one['deviation']:.1%}" if has_spread else "")
                for one in points
            ),
        )


def accuracy_times() -> Iterable[str]:
    """Yields a table of the time that each preset takes to reach each accuracy."""
    presets = read("accuracy")["presets"]
    levels = next(iter(presets.values()))["seconds_to"]
    yield row("Trainer time to", *levels)
    yield "|---" * (len(levels) + 1) + "|"
    for name, preset in presets.items():
        times = (preset["seconds_to"][level] for level in levels)
        yield row(f"`{name}`", *("–" if time is None else duration(time) for time in times))


def row(*cells: str) -> str:
    """Returns a row of a table."""
    return f"| {' | '.join(cells)} |"


def settings_tried() -> Iterable[str]:
    """Yields the table of settings that were tried on held-out images."""
    report = read("settings-tried")
    yield from textwrap.wrap(f"{report['date']}. {report['note']}", 100)
    yield ""
    yield "| setting tried | steps | held-out accuracy |"
    yield "|---|---|---|"
    for one in report["tried"]:
        found = one["accuracy"]
        text = found if isinstance(found, str) else f"{found:.1%}"
        yield f"| {one['setting']} | {one['steps']:,} | {text} |"


def search() -> Iterable[str]:
    """Yields the section of a search by `cifar tune`: its trials, the best first."""
    report = read("search")
    record = records.from_fields(SearchRecord, report["record"])
    names = [text.partition("=")[0] for text in record.space]
    yield "### A search"
    yield ""
    yield from origin(f"cifar tune --preset {record.preset}", report)
    yield row(*(f"`{name}`" for name in names), "trained", "held-out accuracy")
    yield "|---" * (len(names) + 2) + "|"
    for trial in sorted(record.trials, key=lambda one: (one.outcome, -(one.accuracy or 0.0))):
        values = [trial.values[name] for name in names]
        texts = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in values]
        steps = f"{trial.curve[-1][0]:,} steps" if trial.curve else trial.outcome
        accuracy = "–" if trial.accuracy is None else f"{trial.accuracy:.1%}"
        yield row(*texts, steps, accuracy)
    shares = ", ".join(f"`{name}` {share:.0%}" for name, share in record.importance.items())
    yield ""
    words = (
        f"Each trial had up to {record.hyper_parameters['train_steps']:,} steps, without the "
        f"{record.held_out:.0%} of the train examples that judged it. Trials with fewer were "
        f"stopped as hopeless. Share of the differences that each setting explains: {shares}."
    )
    yield from textwrap.wrap(words, 100, break_on_hyphens=False)


def faults() -> Iterable[str]:
    """Yields the table of the fault trials."""
    report = read("faults")
    yield from origin("make test-faults", report)
    yield "| trial | times | failed |"
    yield "|---|---|---|"
    for one in report["trials"]:
        yield f"| {one['trial']} | {one['times']} | {one['failed']} |"


OPTIONAL: dict[str, Callable[[], Iterable[str]]] = {
    "search": search,
    "growth": section(
        "More data",
        "growth",
        "The larger data set consists of copies of the smaller one. It exceeds "
        "`data_memory_gib`, so the Trainer streams it. The goals are linear time and constant "
        "memory.",
        "cifar bench pipeline --scale 10",
    ),
    "predict": section(
        "Batch prediction",
        "predict",
        "`cifar predict --batch` on all images of CIFAR-10, written as Parquet, compared with "
        "calls of the same SavedModel in a loop; the median of three rounds.",
    ),
    "report": section(
        "The report",
        "report",
        "The page of a run on all images of CIFAR-10. `cifar report` draws it again from the "
        "facts that the run kept.",
    ),
    "beam": section(
        "The Beam stages",
        "beam",
        "ExampleGen, StatisticsGen and the Evaluator in one process, in two, and on clusters "
        "of `cifar beam start`. The fixed cost is the time of the slowest stage on the bundled "
        "sample; on Spark, half of it starts the JVMs of the executors. The growth is that of "
        "the time beyond the line through all smaller amounts of data. Each was measured once.",
        "cifar bench beam --scale 1,3,10",
    ),
    "kubeflow": section(
        "The compiled pipeline",
        "kubeflow",
        "Preset `smoke` on the bundled sample, step by step as on a cluster, compared with "
        "`cifar run`. Each step is a process that imports TensorFlow and TFX again, so the "
        "difference shrinks with longer training. Image pulls and scheduling are not included.",
    ),
}
TABLES: dict[str, Callable[[], Iterable[str]]] = {
    "accuracy": accuracy,
    "accuracy-over-steps": accuracy_over_steps,
    "accuracy-times": accuracy_times,
    "settings-tried": settings_tried,
    "faults": faults,
    **{name: targets_of(name) for name in ("training", "pipeline", "serving")},
    **{
        f"{name}-float32": targets_of(f"{name}-float32", f"cifar bench {name}")
        for name in ("training", "pipeline")
    },
    **OPTIONAL,
}

if __name__ == "__main__":
    main()
