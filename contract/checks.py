"""What settings are checked for when they are built: each error names the field."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def check_finite(settings: Any) -> None:
    """Raises ValueError for a field of a dataclass that is infinite."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, float) and math.isinf(value):
            raise ValueError(f"{field.name} is a finite number, got {value}.")


def check_positive(settings: object, names: Iterable[str]) -> None:
    """Raises ValueError for a named field that is not above 0."""
    for name in names:
        if not getattr(settings, name) > 0:  # NaN is not above 0 either
            raise ValueError(f"{name} is above 0, got {getattr(settings, name)}.")


def check_fractions(settings: object, names: Iterable[str]) -> None:
    """Raises ValueError for a named field outside 0 to below 1."""
    for name in names:
        if not 0 <= getattr(settings, name) < 1:
            raise ValueError(
                f"{name} is a fraction from 0 to below 1, got {getattr(settings, name)}."
            )


def check_shares(settings: object, names: Iterable[str]) -> None:
    """Raises ValueError for a named field outside 0 to 1."""
    for name in names:
        if not 0 <= getattr(settings, name) <= 1:
            raise ValueError(
                f"{name} is a fraction from 0 to 1, got {getattr(settings, name)}."
            )


def check_choices(settings: object, choices: Mapping[str, Sequence[str]]) -> None:
    """Raises ValueError for a named field that is none of its choices."""
    for name, allowed in choices.items():
        if getattr(settings, name) not in allowed:
            raise ValueError(
                f"{name} is one of {', '.join(allowed)}, got {getattr(settings, name)!r}."
            )
