"""Tensors on the wire, compared with TensorFlow's own conversions."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.model_server import tensors

ARRAYS = {
    dtype.name: np.array([[0, 1, 1], [1, 0, 7]]).astype(dtype.as_numpy_dtype)
    for dtype in (
        tf.float16, tf.bfloat16, tf.float32, tf.float64, tf.int8, tf.int16, tf.int32, tf.int64,
        tf.uint8, tf.uint16, tf.uint32, tf.uint64, tf.bool, tf.complex64, tf.complex128,
    )
} | {"string": np.array([[b""], [b"\x00\xff"]], object)}  # fmt: skip


def proto(dtype: str, shape: list[int], **values) -> tensor_pb2.TensorProto:
    made = tensor_pb2.TensorProto(dtype=types_pb2.DataType.Value(dtype), **values)
    for size in shape:
        made.tensor_shape.dim.add(size=size)
    return made


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
@pytest.mark.parametrize("is_packed", [False, True], ids=["values", "tensor_content"])
def test_tensorflow_reads_what_is_written(array, is_packed):
    written = tensors.to_proto(array, is_packed)
    assert bool(written.tensor_content) == (is_packed and not array.dtype.hasobject)
    read = tf.make_ndarray(written)
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_what_tensorflow_writes_is_read(array):
    for written in (tf.make_tensor_proto(array), tensors.to_proto(array)):
        read = tensors.to_array(written)
        assert read.dtype == array.dtype
        np.testing.assert_array_equal(read, array)


def test_packed_strings_are_their_lengths_and_their_bytes():
    """Source: tensor_coding.cc in TensorFlow, EncodeStringList; 0xAC 0x02 is 300."""
    content = b"\x02\xac\x02\x00" + b"hi" + b"a" * 300
    read = tensors.to_array(proto("DT_STRING", [3], tensor_content=content))
    assert read.tolist() == [b"hi", b"a" * 300, b""]


def test_missing_values_of_a_small_tensor_repeat_the_last_one():
    """Source: tensor.cc in TensorFlow, FromProtoField."""
    assert tensors.to_array(proto("DT_UINT8", [2, 3], int_val=[1, 2])).tolist() == [
        [1, 2, 2],
        [2, 2, 2],
    ]
    assert tensors.to_array(proto("DT_INT64", [3])).tolist() == [0, 0, 0]
    assert tensors.to_array(proto("DT_STRING", [2])).tolist() == [b"", b""]


def test_a_scalar_has_a_shape_without_dimensions():
    """Source: tensor.cc in TensorFlow, AsProtoField."""
    proto = tensors.to_proto(np.float32(3.0))
    assert proto.HasField("tensor_shape")
    assert not proto.tensor_shape.dim


@pytest.mark.parametrize(
    ("made", "found"),
    [
        (proto("DT_RESOURCE", []), "carries no values"),
        (proto("DT_FLOAT", [-1], float_val=[1]), "not fully defined"),
        (proto("DT_FLOAT", [1] * 33, float_val=[1]), "33 dimensions"),
        (proto("DT_FLOAT", [1], float_val=[1, 2]), "2 values for a tensor of 1"),
        (proto("DT_FLOAT", [2**40], float_val=[1]), "1 values for a tensor of"),
        (proto("DT_FLOAT", [2**40, 0]), "too many empty rows"),
        (proto("DT_FLOAT", [1], tensor_content=b"123"), "the bytes of the shape"),
        (proto("DT_STRING", [2], tensor_content=b"\x00"), "shorter than the shape"),
        (proto("DT_STRING", [1], tensor_content=b"\x05hi"), "the bytes of its strings"),
        (proto("DT_STRING", [1], tensor_content=b"\xff"), "no whole varint"),
    ],
)
def test_values_that_do_not_fit_the_shape_are_refused(made, found):
    with pytest.raises(ValueError, match=found):
        tensors.to_array(made)


def test_types_have_the_names_of_cpp():
    names = [tensors.cpp_name(tensors.data_type(array)) for array in ARRAYS.values()]
    assert names[:4] == ["half", "bfloat16", "float", "double"]
    assert names[4:] == list(ARRAYS)[4:]
