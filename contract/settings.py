"""Settings: the fields of a frozen dataclass that `--set` reaches, with type, range and help.

A range is written with the type, `Annotated[float, ">= 0", "< 1"]`, and a choice is a
`Literal["sgd", "adam"]`. The comment beside a field, or directly above it, is its help.
"""

import ast
import dataclasses
import functools
import inspect
import io
import math
import operator
import textwrap
import tokenize
import typing
from typing import Annotated, Any

_NOUNS = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
KINDS = tuple(_NOUNS)

# Types of fields, with their range.
PositiveInt = Annotated[int, "> 0"]
PositiveFloat = Annotated[float, "> 0"]
NotNegative = Annotated[float, ">= 0"]
Fraction = Annotated[float, ">= 0", "< 1"]
Share = Annotated[float, ">= 0", "<= 1"]

# The metadata of a field that only affects how a training is watched; no weight depends on it.
WATCHING = {"shapes_weights": False}

_COMPARISONS = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


@dataclasses.dataclass(frozen=True)
class Setting:
    """A field that can be set.

    Attributes:
        kind: bool, int, float or str.
        bounds: Limits such as `> 0`.
        choices: The allowed values; empty if all are.
    """

    name: str
    kind: type
    bounds: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    help: str = ""

    @property
    def in_words(self) -> str:
        """Returns a description of its values: `a number >= 0 and < 1`."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        return f"{_NOUNS[self.kind]} {' and '.join(self.bounds)}".strip()

    def parse(self, text: str) -> Any:
        """Returns the value of a text; a whole number may be written `20_000`.

        Raises:
            ValueError: It is not a value of this kind.
        """
        if self.kind is bool:
            if text.lower() not in ("true", "false"):
                raise ValueError(f"{self.name} must be true or false, got {text!r}.")
            return text.lower() == "true"
        try:
            return self.kind(text)
        except ValueError:
            raise ValueError(
                f"{self.name} must be {_NOUNS[self.kind]}, got {text!r}."
            ) from None

    def allows(self, value: Any) -> bool:
        """Returns whether a value is of this kind, in its range and among its choices."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (isinstance(value, self.kind) or (self.kind is float and is_number)):
            return False
        if isinstance(value, bool) != (self.kind is bool):
            return False
        if is_number and math.isinf(value):
            return False
        if self.choices and value not in self.choices:
            return False
        return all(_holds(value, bound) for bound in self.bounds)


@functools.cache
def of(dataclass: type, leave_out: tuple[str, ...] = ()) -> dict[str, Setting]:
    """Returns the settings of a dataclass by name, except for the fields to leave out.

    Raises:
        TypeError: A field has an unsupported type or range.
    """
    hints = typing.get_type_hints(dataclass, include_extras=True)
    comments = _comments(dataclass)
    return {
        field.name: _setting(field.name, hints[field.name], comments.get(field.name, ""))
        for field in dataclasses.fields(dataclass)
        if field.name not in leave_out
    }


def faults(settings: Any, leave_out: tuple[str, ...] = ()) -> list[str]:
    """Returns one line for each value of a dataclass that is not allowed."""
    kind: Any = type(settings)
    return [
        f"{setting.name} must be {setting.in_words}, got {getattr(settings, setting.name)!r}."
        for setting in of(kind, leave_out).values()
        if not setting.allows(getattr(settings, setting.name))
    ]


def check(settings: Any, leave_out: tuple[str, ...] = ()) -> None:
    """Raises ValueError that names every value outside its range."""
    if found := faults(settings, leave_out):
        raise ValueError("\n".join(found))


def _setting(name: str, hint: Any, comment: str) -> Setting:
    kind, bounds = hint, tuple[str, ...]()
    if typing.get_origin(hint) is typing.Annotated:
        kind, *marks = typing.get_args(hint)
        bounds = tuple(mark for mark in marks if isinstance(mark, str))
    choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
    kind = str if choices else kind
    if kind not in KINDS or not all(isinstance(choice, str) for choice in choices):
        raise TypeError(
            f"{name} is of type {getattr(hint, '__name__', hint)}; a setting must be a bool, "
            "an int, a float, a str or a Literal of strings"
        )
    if wrong := [bound for bound in bounds if not _is_bound(bound)]:
        raise TypeError(f"{name} has the range {wrong[0]!r}; write a range as '> 0' or '<= 1'")
    return Setting(name, kind, bounds, choices, comment)


def _is_bound(text: str) -> bool:
    try:
        _holds(0, text)
    except (KeyError, ValueError):
        return False
    return True


def _holds(value: Any, bound: str) -> bool:
    """Returns whether a number is within a bound, such as `> 0`; NaN never is."""
    comparison, _, limit = bound.partition(" ")
    return bool(_COMPARISONS[comparison](value, float(limit)))


def _comments(dataclass: type) -> dict[str, str]:
    """Returns the comment on each field, including inherited ones."""
    comments: dict[str, str] = {}
    for base in reversed(dataclass.__mro__):
        if dataclasses.is_dataclass(base):
            comments |= _own_comments(base)
    return comments


def _own_comments(dataclass: type) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(dataclass))
    except (OSError, TypeError):  # made at run time
        return {}
    lines = source.splitlines()
    by_line = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    comments = {}
    for node in definition.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            beside = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            words = [by_line[line] for line in beside if line in by_line]
            comments[node.target.id] = " ".join(words or _above(node.lineno, lines, by_line))
    return comments


def _above(number: int, lines: list[str], comments: dict[int, str]) -> list[str]:
    """Returns the comment lines directly above a line."""
    first = number
    while lines[first - 2].lstrip().startswith("#"):
        first -= 1
    return [comments[line] for line in range(first, number)]
