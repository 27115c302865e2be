"""Records: frozen dataclasses kept as JSON, which older and newer code can read."""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pydantic

T = TypeVar("T")

# The reader of each kind of record; cached, because making one takes milliseconds.
_adapter: Callable[[Any], pydantic.TypeAdapter[Any]] = functools.cache(pydantic.TypeAdapter)


def to_json(record: Any) -> str:
    """Returns a dataclass as JSON, its fields by name."""
    return json.dumps(dataclasses.asdict(record), indent=2) + "\n"


def from_json(kind: type[T], text: str | bytes) -> T:
    """Returns a dataclass from JSON.

    Missing fields have their defaults and unknown fields are ignored, because the file may be
    older or newer than the code.

    Raises:
        ValueError: The text is not JSON, lacks a field without a default, or has a value of
            another type.
    """
    try:
        record: T = _adapter(kind).validate_json(text)
    except pydantic.ValidationError as error:
        raise ValueError(_in_one_line(error)) from error
    return record


def from_fields(kind: type[T], fields: Mapping[str, Any]) -> T:
    """Returns a dataclass from fields by name, under the rules of `from_json`."""
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
