"""Converts JSON bodies to tensors and examples.

The rules and the errors are those of json_tensor.cc in TensorFlow Serving 2.15.1.
"""

from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np
from tensorflow.core.example import example_pb2, feature_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import input_pb2

from serving.model_server import json_arrays, json_text
from serving.model_server.status import ServingError, invalid

TensorInfos = Mapping[str, meta_graph_pb2.TensorInfo]


def signature_name(document: Mapping[str, Any]) -> str:
    """Returns the signature a body asks for, "" for the default."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {json_text.text(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return json_text.unicode(name)


def is_row_format(document: Mapping[str, Any]) -> bool:
    """Returns whether a body has `instances` (rows) rather than `inputs` (columns)."""
    if "instances" not in document:
        if "inputs" not in document:
            raise invalid("Missing 'inputs' or 'instances' key")
        return False
    instances = document["instances"]
    problem = ""
    if "inputs" in document:
        problem = (
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys "
            "to exist "
        )
    elif not isinstance(instances, list):
        problem = "Expecting 'instances' to be an list/array"
    elif not instances:
        problem = "No values in 'instances' array"
    if problem:
        raise invalid(f"JSON Value: {json_text.text(document)} {problem}")
    return True


def tensors_of_rows(instances: list, infos: TensorInfos) -> dict[str, np.ndarray]:
    """Returns the input tensors of a list with one item for each row.

    Args:
        instances: Values of the only input, or objects with a value for each input.
        infos: The signature's inputs.
    """
    if not isinstance(instances[0], dict) and len(infos) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input "
            "tensors required as per tensorinfo_map"
        )
    rows_are_objects = _is_named(instances[0])
    if not rows_are_objects:
        name = next(iter(infos))
        return {name: _rows(instances, infos[name].dtype)}
    columns: dict[str, list] = {name: [] for name in infos}
    for i, row in enumerate(instances):
        _check_row_keys(i, row, infos)
        for name in infos:
            columns[name].append(row[name])
        for name, _ in row.repeated:
            raise invalid(f"tensor parsing error: {name}")
    return {name: _rows(values, infos[name].dtype, name) for name, values in columns.items()}


def tensors_of_columns(inputs: Any, infos: TensorInfos) -> dict[str, np.ndarray]:
    """Returns the input tensors of a value for the only input, or of an object of values."""
    if not _is_named(inputs):
        if len(infos) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input "
                "tensors required as per tensorinfo_map"
            )
        inputs = {next(iter(infos)): inputs}
    arrays = {}
    for name, info in infos.items():
        if name not in inputs:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        fast = json_arrays.fast_array(inputs[name], info.dtype)
        arrays[name] = (
            json_arrays.exact_array(inputs[name], info.dtype) if fast is None else fast
        )
    return arrays


def _is_named(value: Any) -> TypeGuard[json_text.Members]:
    return isinstance(value, json_text.Members) and not json_arrays.is_base64(value)


def _check_row_keys(i: int, row: Any, infos: TensorInfos) -> None:
    if not _is_named(row):
        raise invalid(f"Expecting object but got list at item {i} of input list")
    for name in row:
        if name not in infos:
            raise invalid(
                f"Failed to process element: {i} key: {name} of 'instances' list. Error: "
                f"INVALID_ARGUMENT: JSON object: does not have named input: {name}"
            )
    if set(row) != set(infos):
        raise invalid(
            f"Failed to process element: {i} of 'instances' list. JSON object: "
            f"{json_text.text(row)} keys must be equal to: {','.join(sorted(infos))}"
        )


def _rows(values: list, dtype: int, name: str = "") -> np.ndarray:
    """Returns the values of one input, all of one shape, stacked along a new first axis."""
    fast = json_arrays.fast_array(values, dtype)
    if fast is not None:
        return fast
    rows: list[np.ndarray] = []
    for i, value in enumerate(values):
        if not name and _is_named(value):
            raise invalid(f"Expecting value/list but got object at item {i} of input list")
        try:
            row = json_arrays.exact_array(value, dtype)
            _check_same_shape(rows[0] if rows else row, row)
        except ServingError as error:
            key = f" key: {name}" if name else ""
            raise invalid(
                f"Failed to process element: {i}{key} of 'instances' list. Error: "
                f"{error.code.name}: {error.message}"
            ) from error
        rows.append(row)
    return np.stack(rows)


def _check_same_shape(first: np.ndarray, row: np.ndarray) -> None:
    if first.size != row.size:
        raise invalid(f"Expecting tensor size: {first.size} but got: {row.size}")
    if first.shape != row.shape:
        raise invalid(f"Expecting shape {_shape(first)} but got: {_shape(row)}")


def _shape(array: np.ndarray) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def examples(document: Mapping[str, Any]) -> input_pb2.Input:
    """Returns the examples, and the context, of a body for classify or regress."""
    result = input_pb2.Input()
    with_context = "context" in document
    if with_context:
        context = _example(document["context"])
        result.example_list_with_context.context.CopyFrom(context)
    rows = document.get("examples")
    problem = ""
    if "examples" not in document:
        problem = "When method is classify, key 'examples' is expected and was not found"
    elif not isinstance(rows, list):
        problem = "Expecting 'examples' value to be an list/array"
    elif not rows:
        problem = "'examples' value is an empty array"
    if problem or rows is None:
        raise invalid(f"JSON Value: {json_text.text(document)} {problem}")
    holder = result.example_list_with_context if with_context else result.example_list
    holder.examples.extend(_example(row) for row in rows)
    return result


def _example(value: Any) -> example_pb2.Example:
    if not isinstance(value, json_text.Members):
        raise invalid(f"Example must be JSON object but got JSON {json_text.type_name(value)}")
    example = example_pb2.Example()
    # Of repeated names, the last one counts here, unlike anywhere else.
    for name, content in {**value, **dict(value.repeated)}.items():
        feature = example.features.feature[json_text.unicode(name)]
        for element in content if isinstance(content, list) else [content]:
            _add_to_feature(element, name, feature)
    return example


def _add_to_feature(value: Any, name: str, feature: feature_pb2.Feature) -> None:
    if isinstance(value, (bool, int)):
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise invalid(f"Feature: {name} has uint64 element. Only int64_t is supported.")
        _kind(feature, "int64", name).append(int(value))
    elif isinstance(value, float):
        _kind(feature, "float", name).append(_as_float(value))
    elif isinstance(value, str):
        _kind(feature, "bytes", name).append(json_text.encode(value))
    elif json_arrays.is_base64(value):
        _kind(feature, "bytes", name).append(json_arrays.decode_base64(value))
    else:
        raise invalid(
            f"Feature: {name} has element with unexpected JSON type: "
            f"{json_text.type_name(value)}"
        )


def _as_float(value: float) -> float:
    """Returns a double rounded to float; protocol buffers reject one that is too large."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def _kind(feature: feature_pb2.Feature, kind: str, name: str) -> Any:
    """Returns the feature's list for a kind of values; raises if it has another kind."""
    known = feature.WhichOneof("kind")
    if known not in (None, f"{kind}_list"):
        raise invalid(
            f"Unexpected element type in feature: {name} expecting type: "
            f"{known.removesuffix('_list')}"
        )
    return getattr(feature, f"{kind}_list").value
