"""JSON as RapidJSON reads and writes it, which is not always as Python does."""

import json
import math
import sys
import time

import numpy as np
import pytest

from serving.model_server import json_text
from serving.model_server.status import ServingError


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": 1, "a": 2}', 1),
        (b'\xef\xbb\xbf{"a": 1}', 1),
        (b'{"a": 1}\0 and more', 1),
        (b'{"a": 18446744073709551615}', 2**64 - 1),
        (b'{"a": 18446744073709551616}', 2.0**64),
        (b'{"a": [Infinity, -Infinity]}', [math.inf, -math.inf]),
        (b'{"a": "\\u00e4"}', "ä"),
        ('{"a": "ä"}'.encode(), "ä"),
    ],
    ids=["first of a name", "mark of bytes", "zero byte", "uint64", "double", "Infinity",
         "escape", "UTF-8"],
)  # fmt: skip
def test_a_body_is_read_as_rapidjson_reads_it(body, value):
    read = json_text.parse(body)["a"]
    assert (read, type(read)) == (value, type(value))


def test_bytes_that_are_no_utf8_survive():
    members = json_text.parse(b'{"\xff": ["\xfe", {"b": "\xe4\xf6"}]}')
    ((name, (first, inner)),) = members.items()
    assert [json_text.encode(text) for text in (name, first, inner["b"])] == [
        b"\xff",
        b"\xfe",
        b"\xe4\xf6",
    ]
    assert json_text.unicode(f"a{first}b").replace("\ufffd", "") == "ab"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"{", "JSON Parse error: Missing a name for object member. at offset: 1"),
        (b'\xef\xbb\xbf{"a" 1}', "at offset: 8"),
        (b'{"a": [1, }', "JSON Parse error: Invalid value. at offset: 10"),
        (b'{"a": [1', "Missing a comma or ] after an array element. at offset: 8"),
        (b"[1]", "JSON Value: [\n    1\n] Is not object"),
        (b"1.0", "JSON Value: 1.0 Is not object"),
        (b"[" * 100_000, "JSON Parse error: It is nested too deeply."),
    ],
    ids=range(8),
)
def test_what_is_no_object_is_the_client_s_fault(body, error):
    with pytest.raises(ServingError) as refusal:
        json_text.parse(body)
    assert refusal.value.http_status == 400
    assert error in refusal.value.message


def test_a_body_of_nothing_but_objects_is_refused_unread():
    body = b'{"instances": [' + b"{}," * 2**21 + b"{}]}"
    start = time.monotonic()
    with pytest.raises(ServingError, match="has 2,097,154 opening braces; at most 1,048,576"):
        json_text.parse(body)
    assert time.monotonic() - start < 0.5


def test_an_object_has_no_more_than_a_dict_needs():
    members = json_text.parse(b"{}")
    assert sys.getsizeof(members) <= sys.getsizeof({}) + 32
    assert not hasattr(members, "__dict__")


def test_later_members_of_a_name_are_kept_in_order():
    members = json_text.parse(b'{"a": 1, "b": 2, "a": 3, "a": 4}')
    assert members == {"a": 1, "b": 2}
    assert members.repeated == [("a", 3), ("a", 4)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.0"),
        (0.2, "0.2"),
        (1 / 3, "0.33333333333333331"),
        (np.float32(1 / 3), "0.333333343"),
        (9e6, "9e+06"),
        (16_777_215.0, "16777215.0"),
        (-0.0, "-0.0"),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
    ],
)
def test_floats_are_short_exact_and_never_integers(value, text):
    assert json_text.numbers(np.array([value])) == [text]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_float_reads_back_as_it_was(dtype):
    bits = np.random.default_rng(0).bytes(1_000 * np.dtype(dtype).itemsize)
    values = np.frombuffer(bits, dtype)
    values = values[np.isfinite(values)]
    read = np.array([json.loads(text) for text in json_text.numbers(values)])
    np.testing.assert_array_equal(read.astype(dtype), values)


def test_a_value_in_an_error_is_indented_and_has_a_limit():
    assert json_text.text({"a": [1, "ä"]}) == (
        '{\n    "a": [\n        1,\n        "ä"\n    ]\n}'
    )
    assert json_text.text("a" * 5000) == '"' + "a" * 1023 + "...TRUNCATED"


def test_types_have_the_names_of_rapidjson():
    read = json_text.parse(b'{"a": [null, true, false, {}, [], "x", 1, 1.5]}')["a"]
    assert [json_text.type_name(value) for value in read] == [
        "Null", "True", "False", "Object", "Array", "String", "Number", "Number"
    ]  # fmt: skip


def test_a_string_of_bytes_is_quoted_and_else_as_it_was():
    written = json_text.string(b'say "\xff\n\xc3\xa4"')
    assert written.encode("utf-8", "surrogateescape") == b'"say \\"\xff\\n\xc3\xa4\\""'
