"""Converts results to JSON, laid out like RapidJSON's PrettyWriter in json_tensor.cc."""

import base64
import json
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import classification_pb2, regression_pb2

from serving.model_server import json_text, tensors
from serving.model_server.status import invalid

BYTES_SUFFIX = "_bytes"
_INTEGERS = (
    types_pb2.DT_INT8,
    types_pb2.DT_INT16,
    types_pb2.DT_INT32,
    types_pb2.DT_INT64,
    types_pb2.DT_UINT8,
    types_pb2.DT_UINT32,
    types_pb2.DT_UINT64,
)
_FLOATS = (types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE)


def rows_json(outputs: Mapping[str, np.ndarray]) -> str:
    """Returns `{"predictions": [...]}`: an item for each row of the outputs."""
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    _check_batch_sizes(outputs)
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        rows = _rows(name, array, 2)
        return _document(
            "predictions", "[" + ", ".join(rows) + _line(1) + "]" if rows else "[]"
        )
    keys = [json_text.string(name.encode()) for name in outputs]
    columns = [_rows(name, array, 3) for name, array in outputs.items()]
    objects = [_object(zip(keys, row, strict=True), 2) for row in zip(*columns, strict=True)]
    return _document("predictions", _list(objects, 1))


def _check_batch_sizes(outputs: Mapping[str, np.ndarray]) -> None:
    batch_size = None
    for name, array in outputs.items():
        if not array.ndim:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if batch_size not in (None, len(array)):
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} "
                f"expecting: {batch_size}"
            )
        batch_size = len(array)


def columns_json(outputs: Mapping[str, np.ndarray]) -> str:
    """Returns `{"outputs": ...}`: the only output, or an object of all."""
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        return _document("outputs", _column(name, array, 1))
    members = (
        (json_text.string(name.encode()), _column(name, array, 2))
        for name, array in outputs.items()
    )
    return _document("outputs", _object(members, 1))


def classification_json(result: classification_pb2.ClassificationResult) -> str:
    """Returns `{"results": [[[label, score], ...], ...]}`."""
    if not result.classifications:
        raise invalid("Cannot convert empty ClassificationResults to JSON")
    rows = []
    for classifications in result.classifications:
        labels = [json_text.string(c.label.encode()) for c in classifications.classes]
        scores = json_text.numbers(
            np.array([c.score for c in classifications.classes], np.float32)
        )
        pairs = (f"[{label}, {score}]" for label, score in zip(labels, scores, strict=True))
        rows.append("[" + ", ".join(pairs) + "]")
    return _document("results", "[" + ", ".join(rows) + _line(1) + "]")


def regression_json(result: regression_pb2.RegressionResult) -> str:
    """Returns `{"results": [value, ...]}`."""
    if not result.regressions:
        raise invalid("Cannot convert empty RegressionResults to JSON")
    values = np.array([r.value for r in result.regressions], np.float32)
    return _document("results", "[" + ", ".join(json_text.numbers(values)) + "]")


def error_json(message: str) -> str:
    """Returns `{"error": ...}`."""
    return _document("error", json.dumps(message, ensure_ascii=False))


def _document(key: str, value: str) -> str:
    return _object([(f'"{key}"', value)], 0)


def _object(members: Iterable[tuple[str, str]], depth: int) -> str:
    """Returns an object of names (as JSON) and values at nesting level `depth`."""
    lines = (f"{_line(depth + 1)}{name}: {value}" for name, value in members)
    return "{" + ",".join(lines) + _line(depth) + "}"


def _list(items: Sequence[str], depth: int) -> str:
    """Returns a list with a line for each item."""
    if not items:
        return "[]"
    line = _line(depth + 1)
    return "[" + line + ("," + line).join(items) + _line(depth) + "]"


def _line(depth: int) -> str:
    return "\n" + "    " * depth


def _rows(name: str, array: np.ndarray, depth: int) -> list[str]:
    """Returns each row of an output, on one line unless it contains objects of bytes."""
    texts = _scalars(name, array, depth + array.ndim - 1)
    for axis in range(array.ndim - 1, 0, -1):
        size, count = array.shape[axis], math.prod(array.shape[:axis])
        texts = ["[" + ", ".join(texts[i * size : (i + 1) * size]) + "]" for i in range(count)]
    return texts


def _column(name: str, array: np.ndarray, depth: int) -> str:
    """Returns an output with a line for each element."""
    texts = _scalars(name, array, depth + array.ndim)
    for axis in range(array.ndim - 1, -1, -1):
        size, count = array.shape[axis], math.prod(array.shape[:axis])
        texts = [_list(texts[i * size : (i + 1) * size], depth + axis) for i in range(count)]
    return texts[0]


def _scalars(name: str, array: np.ndarray, depth: int) -> list[str]:
    """Returns the elements of an output, row by row."""
    dtype = tensors.data_type(array)
    flat = np.ravel(array)
    if dtype in _FLOATS:
        return json_text.numbers(flat)
    if dtype == types_pb2.DT_BOOL:
        return ["true" if value else "false" for value in flat]
    if dtype in _INTEGERS:
        return [str(value) for value in flat.tolist()]
    if dtype != types_pb2.DT_STRING:
        type_name = tensors.cpp_name(dtype)
        raise invalid(f"Failed to write JSON value for tensor type: {type_name}")
    if name.endswith(BYTES_SUFFIX):
        encoded = (base64.b64encode(value).decode() for value in flat)
        return [_object([('"b64"', f'"{text}"')], depth) for text in encoded]
    return [json_text.string(value) for value in flat]
