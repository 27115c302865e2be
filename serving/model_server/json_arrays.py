"""Converts JSON values to arrays, with the rules and errors of json_tensor.cc.

Regular lists of numbers take a fast path through NumPy; everything else, including every
error, is processed element by element.
"""

import base64
import itertools
import re
from typing import Any

import numpy as np
from tensorflow.core.framework import types_pb2

from serving.model_server import json_text, tensors
from serving.model_server.status import Code, ServingError, invalid

BASE64_KEY = "b64"

_INTEGER_LIMITS = {
    types_pb2.DT_INT8: (-(2**31), 2**31 - 1),
    types_pb2.DT_INT16: (-(2**31), 2**31 - 1),
    types_pb2.DT_INT32: (-(2**31), 2**31 - 1),
    types_pb2.DT_UINT8: (-(2**31), 2**31 - 1),
    types_pb2.DT_INT64: (-(2**63), 2**63 - 1),
    types_pb2.DT_UINT32: (0, 2**32 - 1),
    types_pb2.DT_UINT64: (0, 2**64 - 1),
}
_FLOATS = (types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE)

_SPACES = b" \t\n\v\f\r"
_BASE64 = re.compile(rb"([A-Za-z0-9+/]*)([=.]*)")


def fast_array(value: Any, dtype: int) -> np.ndarray | None:
    """Returns the array of a regular list of numbers, None for everything else."""
    shape, flat = _flattened(value)
    kinds = set(map(type, flat))
    if not flat or len(shape) > tensors.MAX_DIMENSIONS:
        return None
    if dtype in _INTEGER_LIMITS and kinds == {int}:
        low, high = _INTEGER_LIMITS[dtype]
        if not low <= min(flat) <= max(flat) <= high:
            return None
        array = np.array(flat, np.uint64 if dtype == types_pb2.DT_UINT64 else np.int64)
    elif dtype in _FLOATS and kinds <= {int, float}:
        array = np.array(flat, np.float64)
    else:
        return None
    return _cast(array, dtype).reshape(shape)


def _flattened(value: Any) -> tuple[list[int], list]:
    """Returns the shape and the elements of nested lists; no elements if irregular."""
    shape: list[int] = []
    flat = [value]
    while flat and type(flat[0]) is list:
        size = len(flat[0])
        if any(type(item) is not list or len(item) != size for item in flat):
            return shape, []
        shape.append(size)
        flat = list(itertools.chain.from_iterable(flat))
    return shape, flat


def _cast(array: np.ndarray, dtype: int) -> np.ndarray:
    """Returns the array as C++ casts it: integers wrap, doubles overflow to infinity."""
    with np.errstate(over="ignore"):
        return array.astype(tensors.numpy_dtype(dtype))


def exact_array(value: Any, dtype: int) -> np.ndarray:
    """Returns the array of any JSON value, element by element."""
    shape: list[int] = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    if len(shape) > tensors.MAX_DIMENSIONS:
        raise invalid(
            f"A tensor has at most {tensors.MAX_DIMENSIONS} dimensions here, got {len(shape)}."
        )
    flat: list = []
    _fill(value, 0, shape, dtype, flat)
    target = tensors.numpy_dtype(dtype)
    if target.hasobject:
        array = np.empty(len(flat), object)
        array[:] = flat
        return array.reshape(shape)
    if dtype in _FLOATS:
        return _cast(np.array(flat, np.float64), dtype).reshape(shape)
    if dtype in _INTEGER_LIMITS and target.itemsize < 4:
        return _cast(np.array(flat, np.int32), dtype).reshape(shape)
    return np.array(flat, target).reshape(shape)


def _fill(value: Any, level: int, shape: list[int], dtype: int, flat: list) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {json_text.text(value)} found at incorrect level: "
                f"{level + 1} in the JSON DOM. Expected at level: {len(shape)}"
            )
        flat.append(_scalar(value, dtype))
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    for item in value:
        _fill(item, level + 1, shape, dtype, flat)


def _scalar(value: Any, dtype: int) -> Any:
    """Returns a JSON value as an element of a tensor."""
    if isinstance(value, dict):
        if dtype == types_pb2.DT_STRING:
            return decode_base64(value)
        raise _type_error(value, dtype)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if dtype in _FLOATS:
        if not is_number:
            raise _type_error(value, dtype)
        return value
    if dtype in _INTEGER_LIMITS:
        low, high = _INTEGER_LIMITS[dtype]
        if not (is_number and isinstance(value, int) and low <= value <= high):
            raise _type_error(value, dtype)
        return value
    if dtype == types_pb2.DT_STRING:
        if not isinstance(value, str):
            raise _type_error(value, dtype)
        return json_text.encode(value)
    if dtype == types_pb2.DT_BOOL:
        if not isinstance(value, bool):
            raise _type_error(value, dtype)
        return value
    raise ServingError(
        Code.UNIMPLEMENTED,
        f"Conversion of JSON Value: {json_text.text(value)} to type: {tensors.cpp_name(dtype)}",
    )


def _type_error(value: Any, dtype: int) -> ServingError:
    return invalid(
        f"JSON Value: {json_text.text(value)} Type: {json_text.type_name(value)} is not "
        f"of expected type: {tensors.cpp_name(dtype)}"
    )


def decode_base64(value: dict) -> bytes:
    """Returns the bytes of a `{"b64": "…"}` object."""
    if not is_base64(value):
        raise invalid(
            f"JSON Value: {json_text.text(value)} not formatted correctly for base64 data"
        )
    return _unescaped(value[BASE64_KEY].encode("utf-8", "surrogateescape"))


def _unescaped(encoded: bytes) -> bytes:
    """Returns decoded base64, with the spaces and the missing padding that C++ allows."""
    match = _BASE64.fullmatch(encoded.translate(None, _SPACES))
    if not match:
        raise invalid("Unable to base64 decode")
    digits, padding = match.groups()
    wanted = -len(digits) % 4
    if wanted == 3 or len(padding) not in (0, wanted):
        raise invalid("Unable to base64 decode")
    return base64.b64decode(digits + b"=" * wanted)


def is_base64(value: Any) -> bool:
    """Returns whether a value is `{"b64": "…"}`, which stands for bytes."""
    return (
        isinstance(value, json_text.Members)
        and len(value) == 1
        and not value.repeated
        and isinstance(value.get(BASE64_KEY), str)
    )
