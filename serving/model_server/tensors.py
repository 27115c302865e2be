"""Converts TensorProtos to arrays and back.

`tf.make_tensor_proto` packs numbers into `tensor_content`; clients in other languages read
`float_val`, `int64_val` and so on, so responses use those. Requests may use either.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.python.framework import dtypes

# A few bytes can declare a tensor of any shape, filled with its last value, or with any number
# of empty rows. This limits the bytes filled in, and the number of empty rows.
MAX_FILLED_BYTES = 2**20
MAX_DIMENSIONS = 32  # NumPy's limit

_VALUE_FIELD = {
    types_pb2.DT_FLOAT: "float_val",
    types_pb2.DT_DOUBLE: "double_val",
    types_pb2.DT_INT8: "int_val",
    types_pb2.DT_INT16: "int_val",
    types_pb2.DT_INT32: "int_val",
    types_pb2.DT_UINT8: "int_val",
    types_pb2.DT_UINT16: "int_val",
    types_pb2.DT_UINT32: "uint32_val",
    types_pb2.DT_UINT64: "uint64_val",
    types_pb2.DT_INT64: "int64_val",
    types_pb2.DT_BOOL: "bool_val",
    types_pb2.DT_STRING: "string_val",
    types_pb2.DT_HALF: "half_val",
    types_pb2.DT_BFLOAT16: "half_val",
    types_pb2.DT_COMPLEX64: "scomplex_val",
    types_pb2.DT_COMPLEX128: "dcomplex_val",
}
_CPP_NAMES = {"float32": "float", "float64": "double", "float16": "half"}
_BITS_16 = (types_pb2.DT_HALF, types_pb2.DT_BFLOAT16)
_COMPLEX_PART = {
    types_pb2.DT_COMPLEX64: np.float32,
    types_pb2.DT_COMPLEX128: np.float64,
}


def numpy_dtype(dtype: int) -> np.dtype:
    """Returns the array dtype of a DataType; strings are bytes in object arrays."""
    return np.dtype(dtypes.as_dtype(dtype).as_numpy_dtype)


def data_type(array: np.ndarray) -> int:
    """Returns the DataType of an array."""
    return int(dtypes.as_dtype(array.dtype).as_datatype_enum)


def cpp_name(dtype: int) -> str:
    """Returns the C++ name of a DataType."""
    name = dtypes.as_dtype(dtype).name
    return _CPP_NAMES.get(name, name)


def to_array(proto: tensor_pb2.TensorProto) -> np.ndarray:
    """Returns the tensor as an array.

    Raises:
        ValueError: The elements are not numbers, booleans or strings, or the values do not
            fit the shape.
    """
    if proto.dtype not in _VALUE_FIELD:
        raise ValueError(f"dtype {proto.dtype} carries no values")
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise ValueError("the shape is not fully defined")
    if len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"{len(shape)} dimensions")
    dtype = numpy_dtype(proto.dtype)
    count = math.prod(shape)
    if not count and math.prod(size or 1 for size in shape) > MAX_FILLED_BYTES:
        raise ValueError("too many empty rows")
    if proto.tensor_content:
        if dtype.hasobject:
            return _strings_of_content(proto.tensor_content, count).reshape(shape)
        if len(proto.tensor_content) != count * dtype.itemsize:
            raise ValueError("tensor_content does not have the bytes of the shape")
        # No copy: bytes are immutable, so TensorFlow may use them for as long as the step runs.
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
    values = _values(proto, dtype)
    if len(values) > count:
        raise ValueError(f"{len(values)} values for a tensor of {count}")
    return _filled(values, count).reshape(shape)


def to_proto(array: np.ndarray, is_packed: bool = False) -> tensor_pb2.TensorProto:
    """Returns the array as a TensorProto.

    Args:
        array: Numbers, booleans, or bytes in an object array.
        is_packed: Whether numbers go into `tensor_content`, not into their type's field.
    """
    dtype = data_type(array)
    proto = tensor_pb2.TensorProto(dtype=dtype)
    proto.tensor_shape.SetInParent()  # a scalar has a shape, too
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if is_packed and not array.dtype.hasobject:
        proto.tensor_content = array.tobytes()
        return proto
    field = getattr(proto, _VALUE_FIELD[dtype])
    flat = np.ravel(array)
    if dtype in _BITS_16:
        flat = flat.view(np.uint16)
    elif dtype in _COMPLEX_PART:
        flat = flat.view(_COMPLEX_PART[dtype])
    values = flat.tolist()
    if dtype == types_pb2.DT_STRING:
        values = [v if isinstance(v, bytes) else str(v).encode() for v in values]
    field.extend(values)
    return proto


def _values(proto: tensor_pb2.TensorProto, dtype: np.dtype) -> np.ndarray:
    field: Sequence[Any] = getattr(proto, _VALUE_FIELD[proto.dtype])
    if proto.dtype in _BITS_16:
        return np.array(field, np.uint32).astype(np.uint16).view(dtype)
    if proto.dtype in _COMPLEX_PART:
        part = _COMPLEX_PART[proto.dtype]
        return np.array(field, part).view(dtype)
    if _VALUE_FIELD[proto.dtype] == "int_val":
        return np.array(field, np.int32).astype(dtype)
    return np.array(field, dtype)


def _filled(values: np.ndarray, count: int) -> np.ndarray:
    """Returns `count` values: missing ones repeat the last one, or else are zero."""
    if len(values) == count:
        return values
    zero = b"" if values.dtype.hasobject else np.zeros((), values.dtype)[()]
    last = values[-1] if len(values) else zero
    size = values.dtype.itemsize + (len(last) if values.dtype.hasobject else 0)
    if (count - len(values)) * size > MAX_FILLED_BYTES:
        raise ValueError(f"{len(values)} values for a tensor of {count}")
    filled = np.full(count, last, values.dtype)
    filled[: len(values)] = values
    return filled


def _strings_of_content(content: bytes, count: int) -> np.ndarray:
    """Returns strings that TensorFlow packed: all lengths (varint), then all bytes."""
    if count > len(content):
        raise ValueError("tensor_content is shorter than the shape")
    sizes, position = [], 0
    for _ in range(count):
        size, position = _varint(content, position)
        sizes.append(size)
    if position + sum(sizes) != len(content):
        raise ValueError("tensor_content does not have the bytes of its strings")
    strings = np.empty(count, object)
    for i, size in enumerate(sizes):
        strings[i] = content[position : position + size]
        position += size
    return strings


def _varint(content: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if position == len(content):
            break
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("tensor_content has no whole varint")
