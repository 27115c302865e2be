"""The space of a search: a range or a list of values for each hyper-parameter.

Written like settings: `learning_rate=0.01..0.2`, `learning_rate=log:0.01..0.2` for equal
chances in each decade, `batch_size=64..256` for whole numbers, `optimizer=momentum,muon`.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from contract import settings

_LOG = "log:"


@dataclasses.dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`, inclusive; whole numbers if both are `int`."""

    low: float
    high: float
    is_log: bool = False

    @property
    def examples(self) -> tuple[Any, ...]:
        """Returns values to validate in place of all."""
        return (self.low, self.high)


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]

    @property
    def examples(self) -> tuple[Any, ...]:
        """Returns values to validate in place of all."""
        return self.values


Space = Mapping[str, Range | Choice]  # by the name of the hyper-parameter


def is_search(text: str) -> bool:
    """Returns whether the text of a value is a range or a list, and so asks for a search."""
    return ".." in text or "," in text


def parse(given: Iterable[str], hyper_parameters: Any) -> Space:
    """Returns the space that settings such as `momentum=0.8,0.9` describe.

    Args:
        given: `field=range` or `field=list`, of fields of `hyper_parameters`.
        hyper_parameters: The hyper-parameters that the search starts from.

    Raises:
        ValueError: A setting names no field, is neither a range nor a list, or has a value that
            the hyper-parameters reject.
    """
    kind: Any = type(hyper_parameters)
    fields = settings.of(kind)
    space = {}
    for setting in given:
        name, _, text = setting.partition("=")
        if name not in fields:
            raise ValueError(
                f"--set {name}: there is no such hyper-parameter to search. Available: "
                f"{', '.join(sorted(fields))}."
            )
        space[name] = _parse_one(fields[name], text)
        for value in space[name].examples:
            settings.check(dataclasses.replace(hyper_parameters, **{name: value}))
    return space


def _parse_one(field: settings.Setting, text: str) -> Range | Choice:
    is_log = text.startswith(_LOG)
    low_text, dots, high_text = text.removeprefix(_LOG).partition("..")
    if not dots:
        values = tuple(field.parse(value) for value in text.split(","))
        if len(set(values)) < 2:
            raise ValueError(
                f"{field.name} must be a range (0.01..0.2, log:0.01..0.2) or a list of two "
                f"values or more (0.8,0.9), got {text!r}."
            )
        return Choice(values)
    if field.kind not in (int, float):
        raise ValueError(f"{field.name} is not a number, so it has no range; list its values.")
    low, high = field.parse(low_text), field.parse(high_text)
    if not low < high:
        raise ValueError(f"{field.name} must be a range from low to high, got {text!r}.")
    if is_log and low <= 0:
        raise ValueError(f"{field.name}: a log range must start above 0, got {text!r}.")
    return Range(low, high, is_log)
