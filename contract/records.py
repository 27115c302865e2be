"""Records: frozen dataclasses that are kept as JSON, and read back whatever their age."""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pydantic

T = TypeVar("T")

# What reads a kind of record, made once: that takes milliseconds.
_adapter: Callable[[Any], pydantic.TypeAdapter[Any]] = functools.cache(pydantic.TypeAdapter)


def to_json(record: Any) -> str:
    """Returns a dataclass as JSON, its fields by name."""
    return json.dumps(dataclasses.asdict(record), indent=2) + "\n"


def from_json(kind: type[T], text: str | bytes) -> T:
    """Returns a dataclass as its JSON tells it.

    A field that is missing has its default, one that nobody knows is left out: the file may
    be older or newer than the code.

    Raises:
        ValueError: The text is no JSON, lacks a field without a default, or holds a value of
            another type.
    """
    try:
        record: T = _adapter(kind).validate_json(text)
    except pydantic.ValidationError as error:
        raise ValueError(_in_one_line(error)) from error
    return record


def from_fields(kind: type[T], fields: Mapping[str, Any]) -> T:
    """Returns a dataclass of fields by name, read as `from_json` reads them."""
    try:
        record: T = _adapter(kind).validate_python(dict(fields))
    except pydantic.ValidationError as error:
        raise ValueError(_in_one_line(error)) from error
    return record


def _in_one_line(error: pydantic.ValidationError) -> str:
    return "; ".join(
        ".".join(map(str, fault["loc"])) + ": " * bool(fault["loc"]) + fault["msg"]
        for fault in error.errors(include_url=False)
    )
