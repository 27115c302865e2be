"""The layout of batch files that may be spread over spans."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from contract.features import EVAL_SPLIT, TRAIN_SPLIT
from data_sources import layouts, spans
from data_sources.layouts import FINE, Layout
from data_sources.spans import Span


def find_layout(directory: Path, labels: str = FINE, selection: str = spans.ALL) -> Layout:
    """Returns the layout of the batch files in a folder, or in the selected spans.

    Args:
        directory: Contains batch files, or spans, or both.
        labels: Which of CIFAR-100's labels to learn, `fine` or `coarse`.
        selection: `all`, `last:N` or `FROM:TO`.

    Raises:
        FileNotFoundError: The folder has no spans and lacks files; the message names all.
        ValueError: The folder or its spans have other faults; the message lists all.
    """
    layout, faults = inspect(directory, labels, selection)
    if faults:
        raise ValueError(in_words(directory, faults))
    return layout


def inspect(
    directory: Path,
    labels: str = FINE,
    selection: str = spans.ALL,
    shown_as: Path | None = None,
) -> tuple[Layout, list[str]]:
    """Returns the layout, and all faults of the spans; without any spans, raises them.

    Only the names of files are read, and the names of the classes.
    """
    misnamed = spans.misnamed(directory) if directory.is_dir() else []
    if not has_spans(directory):
        if misnamed:
            raise ValueError(in_words(shown_as or directory, misnamed))
        spans.choose([Span(0)], selection)
        return layouts.find_layout(directory, labels, shown_as), []
    found = find_spans(directory)
    chosen = spans.choose(found, selection)
    present = {span: layouts.present(directory / span.name) for span in found}
    splits = {
        TRAIN_SPLIT: _of_spans(chosen, present, TRAIN_SPLIT),
        EVAL_SPLIT: _of_spans(_judges(found, chosen, present), present, EVAL_SPLIT),
    }
    faults = misnamed + [
        fault for span in found for fault in _faults(directory / span.name, span)
    ]
    faults += [
        f"none of the selected spans has a batch for {split}"
        for split, names in splits.items()
        if not names
    ]
    layout, names_faults = _with_names(directory, found, labels)
    kinds = {span for span in found if layouts.is_cifar100(directory / span.name)}
    if layout.is_cifar100 and (others := [s.title for s in found if s not in kinds]):
        faults.append(f"{', '.join(others)}: not CIFAR-100's batches, as in other spans")
    layout = dataclasses.replace(layout, splits=splits, spans=spans.in_words(chosen))
    return layout, faults + names_faults


def has_spans(directory: Path) -> bool:
    """Returns whether a folder contains spans, unless they are in its record of pictures."""
    is_converted = (directory / layouts.PICTURES_FILE).is_file()
    return directory.is_dir() and not is_converted and bool(spans.find(directory))


def find_spans(directory: Path) -> list[Span]:
    """Returns the spans of a folder of batches, with the folder itself if it contains some."""
    found = spans.find(directory)
    return [Span(0), *found] if layouts.holds_batches(directory) else found


def likely_layout(directory: Path) -> Layout:
    """Returns the layout of a folder, with all its spans, that may have any fault."""
    if has_spans(directory):
        return inspect(directory)[0]
    return layouts.likely_layout(directory)


def in_words(folder: Path, faults: Sequence[str]) -> str:
    """Returns all faults of a folder on lines of their own."""
    return f"{folder} cannot be used as it is:\n  " + "\n  ".join(faults)


def _judges(
    found: Sequence[Span], chosen: Sequence[Span], present: dict[Span, dict[str, list[str]]]
) -> list[Span]:
    """Returns the spans to judge models on.

    These are the chosen ones with batches for it, or else the newest earlier one.
    """
    judges = [span for span in chosen if present[span][EVAL_SPLIT]]
    earlier = [s for s in found if s.number < chosen[0].number and present[s][EVAL_SPLIT]]
    return judges or earlier[-1:]


def _of_spans(
    some: Sequence[Span], present: dict[Span, dict[str, list[str]]], split: str
) -> tuple[str, ...]:
    """Returns the files of a split in some spans, below the data folder."""
    return tuple(span.path_of(name) for span in some for name in present[span][split])


def _faults(folder: Path, span: Span) -> list[str]:
    """Returns the faults of the names in a span."""
    if not span.name:
        try:
            layouts.find_layout(folder)
        except (FileNotFoundError, ValueError) as error:
            return [str(error)]
        return []
    if not layouts.holds_batches(folder):
        return [f"{span.name} contains no batches, such as data_batch_1.bin or train.bin"]
    known = {name for names in layouts.present(folder).values() for name in names}
    return [
        f"{span.path_of(name)} is not a known name: rename or remove it"
        for name in layouts.batch_names(folder)
        if name not in known and not layouts.is_cifar100(folder)
    ]


def _with_names(
    directory: Path, found: Sequence[Span], labels: str
) -> tuple[Layout, list[str]]:
    """Returns the layout of a kind of batches, and the faults of its class names.

    All spans of CIFAR-100 share the names in the first that has them.
    """
    if not any(layouts.is_cifar100(directory / span.name) for span in found):
        return layouts.cifar10(directory), []
    names_file = layouts.CIFAR100_LABELS[labels][1]
    home = next((s for s in found if (directory / s.path_of(names_file)).is_file()), found[0])
    layout = layouts.cifar100(directory / home.name, labels)
    faults = []
    for name in layout.other_files:
        path = directory / home.path_of(name)
        if not path.is_file():
            faults.append(f"none of the spans has {name} beside {names_file}")
            continue
        for span in found:
            other = directory / span.path_of(name)
            if other.is_file() and other.read_bytes() != path.read_bytes():
                faults.append(f"{span.path_of(name)} differs from {home.path_of(name)}")
    if not faults:
        try:
            layouts.read_names(directory / home.path_of(names_file), Path(names_file))
        except ValueError as error:
            faults.append(str(error))
    other_files = tuple(home.path_of(name) for name in layout.other_files)
    return dataclasses.replace(layout, other_files=other_files), faults
