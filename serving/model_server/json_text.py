"""Reads and writes JSON as the C++ server does; both use RapidJSON."""

import codecs
import json
import re
from typing import Any

import numpy as np
import rapidjson

from serving.model_server.status import ServingError, cut, invalid

# Our release of RapidJSON quotes brackets in its messages; the C++ server's does not.
_QUOTED_BRACKET = re.compile("'([]}])'")
_FAILURE = re.compile(r"Parse error at offset (\d+): (.*)", re.DOTALL)
_MAX_TEXT = 1024  # characters of a JSON value in an error
# Two bytes of JSON become an object of at least a hundred. A request has one or two per image.
MAX_OBJECTS = 2**20
_UTF8_HANDLER = "utf-8-of-the-rest"


class Members(dict):
    """A JSON object. If a name is repeated, its first value counts, as in RapidJSON."""

    __slots__ = ("repeated",)

    def __init__(self) -> None:
        super().__init__()
        # Later members of the same name; few objects have any, so few get a list.
        self.repeated: list[tuple[str, Any]] | tuple[()] = ()

    def __setitem__(self, name: str, value: Any) -> None:
        """Adds a member; later ones of the same name go to `repeated`."""
        if name not in self:
            super().__setitem__(name, value)
        elif self.repeated:
            self.repeated.append((name, value))
        else:
            self.repeated = [(name, value)]


class _Decoder(rapidjson.Decoder):
    def start_object(self) -> Members:
        return Members()


# Numbers as in C++: 64-bit integers, and doubles for everything else.
_decode = _Decoder(number_mode=rapidjson.NM_NATIVE | rapidjson.NM_NAN)


def parse(body: bytes) -> Members:
    """Returns the JSON object in a request's body.

    Bytes that are not UTF-8 become surrogates; `encode` restores them.

    Raises:
        ServingError: INVALID_ARGUMENT; the body is not JSON, not an object, or has more than
            MAX_OBJECTS objects.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    braces = body.count(b"{")
    if braces > MAX_OBJECTS:
        raise invalid(
            f"The body has {braces:,} opening braces; at most {MAX_OBJECTS:,} are allowed. "
            "Send fewer instances at a time."
        )
    skipped = len(codecs.BOM_UTF8) if body.startswith(codecs.BOM_UTF8) else 0
    try:
        document = _parse(body[skipped:])
    except (rapidjson.JSONDecodeError, RecursionError) as error:
        raise _parse_error(error, skipped) from error
    if not isinstance(document, Members):
        raise invalid(f"JSON Value: {text(document)} Is not object")
    return document


def _parse(body: bytes) -> Any:
    try:
        return _decode(body)
    except UnicodeDecodeError:
        return _as_utf8(_decode(body.decode("latin-1")))


def _as_utf8(value: Any) -> Any:
    """Returns a value that was read as Latin-1, with its strings read as UTF-8 instead.

    An escaped character from U+0080 to U+00FF becomes its Latin-1 byte, but only in a body
    that is not UTF-8, and therefore not valid JSON either.
    """
    if isinstance(value, str):
        return value.encode("latin-1", _UTF8_HANDLER).decode("utf-8", "surrogateescape")
    if isinstance(value, list):
        return [_as_utf8(item) for item in value]
    if isinstance(value, Members):
        members = Members()
        for name, member in value.items():
            members[_as_utf8(name)] = _as_utf8(member)
        members.repeated = [(_as_utf8(n), _as_utf8(v)) for n, v in value.repeated]
        return members
    return value


def _utf8_of_the_rest(error: UnicodeError) -> tuple[bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    return error.object[error.start : error.end].encode(), error.end


codecs.register_error(_UTF8_HANDLER, _utf8_of_the_rest)


def _parse_error(error: Exception, skipped: int) -> ServingError:
    match = _FAILURE.match(str(error))
    if isinstance(error, RecursionError) or not match:
        offset = int(match.group(1)) if match else 0
        words = "It is nested too deeply."
    else:
        offset = int(match.group(1))
        words = _QUOTED_BRACKET.sub(r"\1", match.group(2))
    return invalid(f"JSON Parse error: {words} at offset: {offset + skipped}")


def encode(string: str) -> bytes:
    """Returns the bytes of a string that `parse` read."""
    return string.encode("utf-8", "surrogateescape")


def unicode(string: str) -> str:
    """Returns a string that `parse` read, with invalid Unicode replaced."""
    return string.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def text(value: Any) -> str:
    """Returns the beginning of a JSON value as the server prints it: indented by four."""
    if isinstance(value, float):
        return number(value)
    # Nested lists can become a thousand times as long when they are indented.
    parts, length = [], 0
    for part in json.JSONEncoder(indent=4, ensure_ascii=False).iterencode(value):
        parts.append(part)
        length += len(part)
        if length > _MAX_TEXT:
            break
    return cut("".join(parts), _MAX_TEXT)


def type_name(value: Any) -> str:
    """Returns the server's name for the type of a JSON value."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return "True" if value else "False"
    for kind, name in ((dict, "Object"), (list, "Array"), (str, "String")):
        if isinstance(value, kind):
            return name
    return "Number"


def string(value: bytes) -> str:
    """Returns bytes as a JSON string; bytes that are not UTF-8 pass through unchanged."""
    return json.dumps(value.decode("utf-8", "surrogateescape"), ensure_ascii=False)


def number(value: float) -> str:
    """Returns a double as a JSON number, see `numbers`; one within float's range as a float."""
    is_float = abs(value) <= np.finfo(np.float32).max
    return numbers(np.array([value], np.float32 if is_float else np.float64))[0]


def numbers(values: np.ndarray) -> list[str]:
    """Returns floats as JSON numbers: short, exact, and never mistaken for integers.

    Uses six significant digits if they read back as the same value, else 9 for float32 and
    17 for float64; whole numbers end in `.0`.

    Args:
        values: float32 or float64, shape (n,).
    """
    digits = 9 if values.dtype == np.float32 else 17
    exact = values.tolist()
    texts = [f"{value:g}" for value in exact]
    with np.errstate(over="ignore"):
        read_back = np.array([float(text) for text in texts]).astype(values.dtype)
    for i in np.flatnonzero(read_back != values):
        texts[i] = f"{exact[i]:.{digits}g}"
    return [_as_decimal(text) for text in texts]


def _as_decimal(text: str) -> str:
    if text in _NOT_FINITE:
        return _NOT_FINITE[text]
    return text if "." in text or "e" in text else text + ".0"


_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
