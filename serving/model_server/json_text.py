"""JSON as the C++ server reads and writes it.

Python's parser does the work; where it refuses, `parse_error` finds what RapidJSON would
have said and where.
"""

import json
import re
from typing import Any

import numpy as np

from serving.model_server.status import ServingError, invalid

_WHITESPACE = b" \t\r\n"
_LITERALS = (b"null", b"true", b"false", b"NaN", b"Infinity", b"Inf")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]*)?([eE][+-]?[0-9]*)?")
_ESCAPES = b'"\\/bfnrt'
_CONTROL_LIMIT = 0x20
_MAX_DEPTH = 900  # of arrays and objects: what Python's parser takes


def parse(body: bytes) -> dict[str, Any]:
    """Returns the object a request's body holds.

    Bytes that are no UTF-8 survive as surrogates; `encode` gives them back.

    Raises:
        ServingError: INVALID_ARGUMENT, for what is no JSON or no object.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = json.loads(body.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise parse_error(body) from error
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {text(document)} Is not object")
    return document


def encode(string: str) -> bytes:
    """Returns the bytes of a string that `parse` read."""
    try:
        return string.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise invalid("JSON Parse error: The surrogate pair in string is invalid.") from error


def unicode(string: str) -> str:
    """Returns a string that `parse` read with what is no Unicode replaced."""
    return string.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def text(value: Any) -> str:
    """Returns a JSON value as the server prints it in errors: indented by four."""
    if isinstance(value, float):
        return number(value)
    return json.dumps(value, indent=4, ensure_ascii=False)


def type_name(value: Any) -> str:
    """Returns what the server calls the type of a JSON value."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return "True" if value else "False"
    for kind, name in ((dict, "Object"), (list, "Array"), (str, "String")):
        if isinstance(value, kind):
            return name
    return "Number"


def string(value: bytes) -> str:
    """Returns bytes as a JSON string; what is no UTF-8 passes through unchanged."""
    return json.dumps(value.decode("utf-8", "surrogateescape"), ensure_ascii=False)


def number(value: float) -> str:
    """Returns a double as a JSON number, see `numbers`."""
    return numbers(np.array([value], np.float64))[0]


def numbers(values: np.ndarray) -> list[str]:
    """Returns floats as JSON numbers: short, exact, and never mistaken for integers.

    Six significant digits where they read back as the same value, else 9 for float32 and
    17 for float64; whole numbers end in `.0`.

    Args:
        values: float32 or float64, shape (n,).
    """
    digits = 9 if values.dtype == np.float32 else 17
    exact = values.tolist()
    texts = [f"{value:g}" for value in exact]
    read_back = np.array([float(text) for text in texts]).astype(values.dtype)
    for i in np.flatnonzero(read_back != values):
        texts[i] = f"{exact[i]:.{digits}g}"
    return [_as_decimal(text) for text in texts]


def _as_decimal(text: str) -> str:
    if text in _NOT_FINITE:
        return _NOT_FINITE[text]
    return text if "." in text or "e" in text else text + ".0"


_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


class _Stop(Exception):  # noqa: N818 - carries a finding, is no error of ours
    """The first thing wrong: RapidJSON's words for it, and where it is."""


def parse_error(body: bytes) -> ServingError:
    """Returns the error RapidJSON reports for a body that Python's parser refused."""
    try:
        end = _skip_value(body, _skip_space(body, 0), 0)
        end = _skip_space(body, end)
        if end < len(body):
            raise _Stop("The document root must not be followed by other values.", end)
    except _Stop as stop:
        words, offset = stop.args
        return invalid(f"JSON Parse error: {words} at offset: {offset}")
    return invalid("JSON Parse error: Invalid value. at offset: 0")


def _skip_space(body: bytes, at: int) -> int:
    while at < len(body) and body[at] in _WHITESPACE:
        at += 1
    return at


def _skip_value(body: bytes, at: int, depth: int) -> int:
    """Returns the offset behind the value at `at`."""
    if at == len(body):
        raise _Stop("Invalid value." if depth else "The document is empty.", at)
    if depth > _MAX_DEPTH:
        raise _Stop("Terminate parsing due to Handler error.", at)
    first = body[at : at + 1]
    if first == b"{":
        return _skip_object(body, at + 1, depth)
    if first == b"[":
        return _skip_array(body, at + 1, depth)
    if first == b'"':
        return _skip_string(body, at)
    for literal in _LITERALS:
        if body.startswith(literal, at):
            return at + len(literal)
        if first == literal[:1] and first in b"ntf":
            raise _Stop("Invalid value.", _first_difference(body, at, literal))
    return _skip_number(body, at)


def _first_difference(body: bytes, at: int, literal: bytes) -> int:
    same = 1
    while body[at + same : at + same + 1] == literal[same : same + 1]:
        same += 1
    return at + same


def _skip_object(body: bytes, at: int, depth: int) -> int:
    at = _skip_space(body, at)
    if body[at : at + 1] == b"}":
        return at + 1
    while True:
        if body[at : at + 1] != b'"':
            raise _Stop("Missing a name for object member.", at)
        at = _skip_space(body, _skip_string(body, at))
        if body[at : at + 1] != b":":
            raise _Stop("Missing a colon after a name of object member.", at)
        at = _skip_value(body, _skip_space(body, at + 1), depth + 1)
        at = _skip_space(body, at)
        if body[at : at + 1] == b"}":
            return at + 1
        if body[at : at + 1] != b",":
            raise _Stop("Missing a comma or } after an object member.", at)
        at = _skip_space(body, at + 1)


def _skip_array(body: bytes, at: int, depth: int) -> int:
    at = _skip_space(body, at)
    if body[at : at + 1] == b"]":
        return at + 1
    while True:
        at = _skip_space(body, _skip_value(body, at, depth + 1))
        if body[at : at + 1] == b"]":
            return at + 1
        if body[at : at + 1] != b",":
            raise _Stop("Missing a comma or ] after an array element.", at)
        at = _skip_space(body, at + 1)


def _skip_string(body: bytes, start: int) -> int:
    at = start + 1
    while at < len(body):
        byte = body[at]
        if byte == ord('"'):
            return at + 1
        if byte == ord("\\"):
            at = _skip_escape(body, at)
        elif byte < _CONTROL_LIMIT:
            words = "Missing a closing quotation mark in string."
            raise _Stop(words if byte == 0 else "Invalid encoding in string.", at)
        else:
            at += 1
    raise _Stop("Missing a closing quotation mark in string.", at)


def _skip_escape(body: bytes, at: int) -> int:
    kind = body[at + 1 : at + 2]
    if kind == b"u":
        if not re.fullmatch(rb"[0-9a-fA-F]{4}", body[at + 2 : at + 6]):
            raise _Stop("Incorrect hex digit after \\u escape in string.", at)
        return at + 6
    if not kind or kind not in _ESCAPES:
        raise _Stop("Invalid escape character in string.", at)
    return at + 2


def _skip_number(body: bytes, at: int) -> int:
    match = _NUMBER.match(body, at)
    if not match:
        raise _Stop("Invalid value.", at + body.startswith(b"-", at))
    fraction, exponent = match.groups()
    if fraction == b".":
        raise _Stop("Miss fraction part in number.", match.end(1))
    if exponent and not exponent[-1:].isdigit():
        raise _Stop("Miss exponent in number.", match.end())
    return match.end()
