"""The REST protocol, case by case as in the tests of TensorFlow Serving."""

import base64
import gzip
import json
import math
import socket
import subprocess

import pytest
import requests

PREDICT = "/v1/models/half_plus_two/versions/1:predict"


@pytest.fixture(scope="module")
def session():
    with requests.Session() as session:
        yield session


@pytest.fixture
def post(server, session):
    """Sends a body (text unchanged, anything else as JSON); returns status and answer."""

    def send(path: str, body) -> tuple[int, dict]:
        text = body if isinstance(body, (str, bytes)) else json.dumps(body)
        reply = session.post(server.rest_url + path, data=text)
        assert reply.headers["Content-Type"] == "application/json"
        return reply.status_code, reply.json()

    return send


@pytest.fixture
def get(server, session):
    def fetch(path: str) -> tuple[int, dict]:
        reply = session.get(server.rest_url + path)
        return reply.status_code, reply.json()

    return fetch


@pytest.fixture
def echo(post):
    """Sends one value to the echo model; returns what comes back, or the error."""

    def send(signature: str, value_text: str):
        body = f'{{"signature_name": "{signature}", "inputs": {value_text}}}'
        status, answer = post("/v1/models/echo:predict", body)
        return answer["outputs"] if status == 200 else answer["error"]

    return send


def test_half_of_two_plus_two_is_three(post):
    assert post(PREDICT, {"instances": [1.0, 2.0, 5.0]}) == (
        200,
        {"predictions": [2.5, 3.0, 4.5]},
    )


def test_columns_come_back_as_columns(post):
    assert post(PREDICT, {"inputs": [[2.0], [4.0]]}) == (200, {"outputs": [[3.0], [4.0]]})
    assert post(PREDICT, {"inputs": {"x": 2.0, "other": 1}}) == (200, {"outputs": 3.0})


def test_rows_of_two_outputs_are_objects(post):
    body = {"signature_name": "two_outputs", "instances": [{"x": 2.0}, {"x": 4.0}]}
    expected = {"predictions": [{"y": 3.0, "y2": 4.0}, {"y": 4.0, "y2": 5.0}]}
    assert post(PREDICT, body) == (200, expected)


def test_versions_and_labels_choose_the_model(post):
    body = {"instances": [2.0]}
    for where, expected in (
        ("/versions/1", 3.0),
        ("/labels/stable", 3.0),
        ("/versions/2", 4.0),
        ("/labels/canary", 4.0),
        ("", 4.0),
    ):
        answer = post(f"/v1/models/half_plus_two{where}:predict", body)
        assert answer == (200, {"predictions": [expected]})


def test_urls_ignore_case_and_percent_signs(post):
    status, _ = post("/V1/Models/half%5Fplus%5Ftwo/VERSIONS/1:predict", {"instances": [1.0]})
    assert status == 200


def test_methods_and_subresources_do_not(post, get):
    """Source: http_rest_api_handler.cc: the pattern ignores case, the comparison does not."""
    path = "/v1/models/half_plus_two:PREDICT"
    assert post(path, {"instances": [1.0]}) == (
        400,
        {"error": f"Malformed request: POST {path}"},
    )
    assert "model_version_status" in get("/v1/models/half_plus_two/METADATA")[1]


def test_regress_returns_a_value_for_each_example(post):
    body = {"signature_name": "regress", "examples": [{"x": 2.0}, {"x": [4.0]}]}
    path = PREDICT.replace("predict", "regress")
    assert post(path, body) == (200, {"results": [3.0, 4.0]})


def test_classify_without_classes_has_empty_labels(post):
    body = {"signature_name": "classify", "examples": [{"x": 2.0}]}
    path = PREDICT.replace("predict", "classify")
    assert post(path, body) == (200, {"results": [[["", 3.0]]]})


def test_of_a_repeated_feature_the_last_value_counts(post):
    """Source: json_tensor.cc, MakeExampleFromJsonObject."""
    body = '{"signature_name": "regress", "examples": [{"x": 2.0, "x": 8.0}]}'
    assert post("/v1/models/half_plus_two/versions/1:regress", body) == (
        200,
        {"results": [6.0]},
    )


def test_context_is_shared_by_all_examples(post):
    body = {"signature_name": "regress", "context": {"x": 6.0}, "examples": [{}, {}]}
    path = PREDICT.replace("predict", "regress")
    assert post(path, body) == (200, {"results": [5.0, 5.0]})


def test_status_lists_versions_newest_first(get):
    status, answer = get("/v1/models/half_plus_two")
    assert status == 200
    ok = {"error_code": "OK", "error_message": ""}
    assert answer == {
        "model_version_status": [
            {"version": "2", "state": "AVAILABLE", "status": ok},
            {"version": "1", "state": "AVAILABLE", "status": ok},
        ]
    }
    _, one = get("/v1/models/half_plus_two/versions/1")
    assert [v["version"] for v in one["model_version_status"]] == ["1"]
    assert get("/v1/models/half_plus_two/labels/no_such") == (status, answer)


def test_metadata_has_the_signatures_in_proto_json(get):
    status, answer = get("/v1/models/half_plus_two/labels/stable/metadata")
    assert status == 200
    assert answer["model_spec"] == {
        "name": "half_plus_two",
        "signature_name": "",
        "version": "1",
    }
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    sizes = [{"size": "-1", "name": ""}, {"size": "1", "name": ""}]
    assert signature["inputs"]["x"] == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": sizes, "unknown_rank": False},
        "name": "x:0",
    }
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["defaults"] == {}


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/v1/models/none", 404, "Could not find any versions of model none"),
        (
            "/v1/models/half_plus_two/versions/9",
            404,
            "Could not find version 9 of model half_plus_two",
        ),
        (
            "/v1/models/half_plus_two/versions/9/metadata",
            404,
            "Servable not found for request: Specific(half_plus_two, 9)",
        ),
        ("/v1/models/none/metadata", 404, "Servable not found for request: Latest(none)"),
        (
            "/v1/models/half_plus_two/labels/x/metadata",
            400,
            "Unrecognized servable version label: x",
        ),
        ("/v1/models", 400, "Missing model name in request."),
        (
            "/v1/models/half_plus_two/versions/99999999999999999999",
            400,
            "Failed to convert version: 99999999999999999999 to numeric.",
        ),
    ],
)
def test_what_is_not_there_is_named(get, path, status, error):
    assert get(path) == (status, {"error": error})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models/half_plus_two:predict"),
        ("GET", "/v1/models/half_plus_two/versions/one"),
        ("GET", "/v1/models/half_plus_two/metadata?verbose=1"),
        ("GET", "/v1/models//half_plus_two"),
        ("GET", "/v1/models/half_plus_two/metadata/x"),
        ("GET", "/v1/"),
        ("POST", "/v1/models/half_plus_two"),
        ("POST", "/v1/models/half_plus_two:explain"),
        ("POST", "/v1/models/half_plus_two/versions/1/labels/a:predict"),
        ("POST", "/v1/models/:predict"),
        ("PUT", "/v1/models/half_plus_two:predict"),
        ("DELETE", "/v1/models/half_plus_two"),
        ("PATCH", "/v1/models/half_plus_two"),
    ],
)
def test_malformed_urls_are_repeated_in_the_error(server, session, method, path):
    reply = session.request(method, server.rest_url + path, data="{}")
    assert reply.status_code == 400
    assert reply.json() == {"error": f"Malformed request: {method} {path}"}


def test_paths_outside_v1_are_not_found_and_not_json(server, session):
    reply = session.get(server.rest_url + "/v2/models/half_plus_two")
    assert reply.status_code == 404
    assert reply.text.lower().startswith("<html>")


def test_head_has_a_status_and_no_body(server, session):
    reply = session.head(server.rest_url + "/v1/models/half_plus_two")
    assert (reply.status_code, reply.content) == (400, b"")
    assert session.get(server.rest_url + "/v1/models/half_plus_two").ok  # same connection


def test_options_is_for_web_pages(server, session):
    url = server.rest_url + PREDICT
    page = session.options(url, headers={"Origin": "http://page"})
    assert (page.status_code, page.content) == (200, b"")
    assert session.options(url).status_code == 400
    assert session.options(server.rest_url + "/v2").status_code == 404


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("", "JSON Parse error: The document is empty"),
        ("  ", "JSON Parse error: The document is empty. at offset: 2"),
        ("{", "JSON Parse error: Missing a name for object member. at offset: 1"),
        ('{"instances": [1.0, }', "JSON Parse error: Invalid value. at offset: 20"),
        ('{"instances" 1}', None),
        ('{"instances": [1.0]} x', None),
        ('{"instances": [1.0', None),
        ('{"instances": ["a\\q"]}', None),
        ("[1.0]", "JSON Value: [\n    1.0\n] Is not object"),
        ("{}", "Missing 'inputs' or 'instances' key"),
        ('{"instances": []}', None),
        ('{"instances": 1}', None),
        ('{"instances": [1.0], "inputs": [1.0]}', None),
        ('{"signature_name": 5, "instances": [1.0]}', None),
        (
            '{"signature_name": "x", "instances": [1.0]}',
            'Serving signature name: "x" not found in signature def',
        ),
        (
            '{"instances": ["1"]}',
            "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
            'JSON Value: "1" Type: String is not of expected type: float',
        ),
        (
            '{"instances": [[1.0], [1.0, 2.0]]}',
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
            "Expecting tensor size: 1 but got: 2",
        ),
        (
            '{"instances": [[[1.0, 2.0]], [[1.0], [2.0]]]}',
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
            "Expecting shape [1,2] but got: [2,1]",
        ),
        (
            '{"instances": [{"x": 1.0}, [2.0]]}',
            "Expecting object but got list at item 1 of input list",
        ),
        (
            '{"instances": [[1.0], {"x": 2.0}]}',
            "Expecting value/list but got object at item 1 of input list",
        ),
        (
            '{"instances": [{"z": 1.0}]}',
            "Failed to process element: 0 key: z of 'instances' list. Error: "
            "INVALID_ARGUMENT: JSON object: does not have named input: z",
        ),
        ('{"instances": [{"x": 1.0, "x": 2.0}]}', "tensor parsing error: x"),
        (
            '{"inputs": {"z": 1.0}}',
            "Missing named input: x in 'inputs' object.",
        ),
        (
            '{"inputs": [[1.0], 2.0]}',
            "JSON Value: 2.0 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        (
            '{"inputs": [[1.0], 1.23456789012]}',
            "JSON Value: 1.23456788 found at incorrect level: 2 in the JSON DOM. Expected at "
            "level: 2",
        ),
        (
            '{"inputs": [1.0, [2.0]]}',
            "Encountered list at unexpected level: 1 expected < 1",
        ),
    ],
)
def test_wrong_bodies_are_invalid_arguments(post, body, error):
    status, answer = post(PREDICT, body)
    assert status == 400
    if error:
        assert answer == {"error": error}


def test_a_signature_without_inputs_has_no_json(post):
    """Source: json_tensor.cc, FillPredictRequestFromJson."""
    error = "Failed to get input map for signature: "
    body = {"inputs": []}
    assert post("/v1/models/counter:predict", body) == (400, {"error": error + "DEFAULT"})
    body = {"inputs": [], "signature_name": "reset"}
    assert post("/v1/models/counter:predict", body) == (400, {"error": error + "reset"})


def test_errors_of_the_body_come_before_a_missing_model(post):
    status, answer = post("/v1/models/none:predict", "{")
    assert (status, "JSON Parse error" in answer["error"]) == (400, True)
    status, answer = post("/v1/models/none:predict", '{"instances": [1.0]}')
    assert (status, answer["error"]) == (
        404,
        "Servable not found for request: Latest(none)",
    )


@pytest.mark.parametrize(
    ("dtype", "sent", "returned"),
    [
        ("float32", "[1, 2.5, -3e-5]", [1.0, 2.5, -3e-05]),
        # Sources of the next four: json_tensor_test.cc, MixedInputForFloatTensor and others.
        ("float32", "[16777216, 1435774380]", [16777216.0, 1435774340.0]),
        ("float32", "[1e39, -1.7976931348623157e308]", [math.inf, -math.inf]),
        ("float32", "[Inf, -Inf]", [math.inf, -math.inf]),
        ("float64", "[9007199254740993]", [9007199254740992.0]),
        ("float64", "[1, 0.1]", [1.0, 0.1]),
        ("int8", "[300]", [44]),
        ("int16", "[-5]", [-5]),
        ("int32", "[[2147483647]]", [[2147483647]]),
        ("int64", "[9223372036854775807]", [9223372036854775807]),
        ("uint8", "[256]", [0]),
        ("uint32", "[4294967295]", [4294967295]),
        ("uint64", "[18446744073709551615]", [18446744073709551615]),
        ("bool", "[true, false]", [True, False]),
        ("string", '["a", {"b64": "aGk="}]', ["a", "hi"]),
        ("string", '{"b64": "aGk="}', "hi"),
        ("string", '{"b64": "aG\\nk="}', "hi"),  # as `base64` without -w0 prints
        ("string", '{"b64": "aG k"}', "hi"),
        ("float32", "[]", []),
        ("float32", "[[], []]", [[], []]),
    ],
)
def test_values_of_each_dtype_come_back(echo, dtype, sent, returned):
    assert echo(dtype, sent) == returned


@pytest.mark.parametrize(
    ("dtype", "sent", "error"),
    [
        ("uint8", "[3.0]", "JSON Value: 3.0 Type: Number is not of expected type: uint8"),
        ("int32", "[true]", "JSON Value: true Type: True is not of expected type: int32"),
        ("int32", "[2147483648]", "Type: Number is not of expected type: int32"),
        ("uint32", "[-1]", "JSON Value: -1 Type: Number is not of expected type: uint32"),
        ("bool", "[1]", "JSON Value: 1 Type: Number is not of expected type: bool"),
        ("string", "[1]", "JSON Value: 1 Type: Number is not of expected type: string"),
        ("float32", "[null]", "JSON Value: null Type: Null is not of expected type: float"),
        ("float32", '[{"b64": "aGk="}]', "Type: Object is not of expected type: float"),
        ("string", '[{"b64": "?"}]', "Unable to base64 decode"),
        ("string", '[{"b64": "aGk=="}]', "Unable to base64 decode"),
        ("string", '[{"b64": "aGk=", "b64": "aGk="}]', "not formatted correctly for base64"),
        ("float32", "[1e400]", "JSON Parse error: Number too big to be stored in double."),
        ("string", '[{"b64": 1}]', "not formatted correctly for base64 data"),
    ],
)
def test_values_of_another_type_are_refused(echo, dtype, sent, error):
    assert error in echo(dtype, sent)


@pytest.mark.parametrize(
    "body",
    [
        '{"instances": [2.0], "instances": [4.0]}',
        b'\xef\xbb\xbf{"instances": [2.0]}',
        b'{"instances": [2.0]}\0',
    ],
)
def test_json_is_read_as_rapidjson_reads_it(post, body):
    assert post(PREDICT, body) == (200, {"predictions": [3.0]})


def test_half_precision_has_no_json(post):
    body = {"signature_name": "float16", "inputs": [1.0]}
    status, answer = post("/v1/models/echo:predict", body)
    assert status == 501
    assert answer["error"] == "Conversion of JSON Value: 1.0 to type: half"


def test_floats_are_short_exact_and_never_integers(server, session):
    numbers = "[1, 0.2, 0.333333333333, 9000000, 16777215, NaN, Infinity, -Infinity]"
    body = f'{{"signature_name": "float32", "inputs": {numbers}}}'
    reply = session.post(server.rest_url + "/v1/models/echo:predict", data=body)
    texts = reply.text[reply.text.index("[") + 1 : reply.text.index("]")].split(",")
    assert [text.strip() for text in texts] == [
        "1.0", "0.2", "0.333333343", "9e+06", "16777215.0", "NaN", "Infinity", "-Infinity"
    ]  # fmt: skip


def test_outputs_named_bytes_are_base64(post):
    body = {"instances": [{"text": "hi", "number": 1}]}
    expected = {"number": -1, "text": "hi", "text_bytes": {"b64": "aGk="}}
    assert post("/v1/models/echo:predict", body) == (200, {"predictions": [expected]})


def test_bytes_that_are_no_text_survive(post):
    value = {"b64": base64.b64encode(b"\xff\x00\xfe").decode()}
    body = {"signature_name": "bytes", "instances": [value]}
    assert post("/v1/models/echo:predict", body) == (200, {"predictions": [value]})


def test_all_inputs_must_be_there(post):
    body = {"instances": [{"text": "a"}]}
    status, answer = post("/v1/models/echo:predict", body)
    assert status == 400
    assert answer["error"].endswith("keys must be equal to: number,text")
    status, answer = post("/v1/models/echo:predict", {"instances": ["a"]})
    assert answer["error"].startswith("instances is a plain list, but expecting")


def test_row_format_needs_rows(post):
    body = {"signature_name": "scalar", "instances": [1, 2, 3]}
    status, answer = post("/v1/models/echo:predict", body)
    assert (status, answer) == (
        400,
        {"error": "Tensor name: total has no shape information "},
    )
    body = {"signature_name": "scalar", "inputs": [1, 2, 3]}
    assert post("/v1/models/echo:predict", body) == (200, {"outputs": 6})


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("{}", "When method is classify, key 'examples' is expected and was not found"),
        ('{"examples": 1}', "Expecting 'examples' value to be an list/array"),
        ('{"examples": []}', "'examples' value is an empty array"),
        ('{"examples": [1]}', "Example must be JSON object but got JSON Number"),
        (
            '{"examples": [{"x": [1, 2.0]}]}',
            "Unexpected element type in feature: x expecting type: int64",
        ),
        (
            '{"examples": [{"x": null}]}',
            "Feature: x has element with unexpected JSON type: Null",
        ),
        (
            '{"examples": [{"x": [[1.0]]}]}',
            "Feature: x has element with unexpected JSON type: Array",
        ),
        (
            '{"signature_name": "none", "examples": [{"x": 1.0}]}',
            "No signature was found with the name: none",
        ),
    ],
)
def test_wrong_examples_are_named(post, body, error):
    status, answer = post("/v1/models/half_plus_two:classify", body)
    assert status == 400
    assert answer["error"].endswith(error)


# Source of x-gzip: evhttp_request.cc looks for "gzip" anywhere in the header.
@pytest.mark.parametrize("encoding", ["gzip", "x-gzip"])
def test_gzip_bodies_are_unpacked(server, session, encoding):
    body = gzip.compress(b'{"instances": [2.0]}')
    headers = {"Content-Encoding": encoding}
    reply = session.post(server.rest_url + PREDICT, data=body, headers=headers)
    assert reply.json() == {"predictions": [3.0]}


def test_curl_speaks_to_it(server):
    """With curl's own defaults: chunks, 100-continue for a large body, keep-alive."""
    url = server.rest_url + PREDICT
    small = ["curl", "-sS", "-d", '{"instances": [2.0]}', url]
    chunked = [*small[:-1], "-H", "Transfer-Encoding: chunked", url]
    for command in (small, chunked, [*small, url]):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        answer = json.loads(done.stdout[: done.stdout.index("}") + 1])
        assert answer == {"predictions": [3.0]}
    values = ", ".join(["2.0"] * 300_000)
    done = subprocess.run(
        ["curl", "-sS", "--data-binary", "@-", url],
        input=f'{{"instances": [{values}]}}',
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["predictions"] == [3.0] * 300_000


def test_requests_sent_in_one_packet_are_answered_in_turn(server):
    request = (
        b"GET /v1/models/half_plus_two/versions/1 HTTP/1.1\r\nHost: x\r\n\r\n"
        b"GET /v1/models/none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    address = (server.ready.host, server.ready.rest_api_port)
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(request)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.count(b"HTTP/1.1 200") == 1
    assert received.index(b"HTTP/1.1 200") < received.index(b"HTTP/1.1 404")


def test_json_is_laid_out_as_the_c_server_does(server, session):
    """Source: json_tensor.cc, which writes with RapidJSON's PrettyWriter."""

    def text(path: str, body: dict) -> str:
        return session.post(server.rest_url + path, data=json.dumps(body)).text

    rows = text(PREDICT, {"instances": [1.0, 2.0]})
    assert rows == '{\n    "predictions": [2.5, 3.0\n    ]\n}'
    column = text(PREDICT, {"inputs": [[2.0]]})
    assert column == ('{\n    "outputs": [\n        [\n            3.0\n        ]\n    ]\n}')
    both = text(PREDICT, {"signature_name": "two_outputs", "instances": [{"x": [2.0]}]})
    assert both == (
        '{\n    "predictions": [\n        {\n            "y": [3.0],\n'
        '            "y2": [4.0]\n        }\n    ]\n}'
    )
    regressed = {"signature_name": "regress", "examples": [{"x": 2.0}]}
    path = PREDICT.replace("predict", "regress")
    assert text(path, regressed) == '{\n    "results": [3.0]\n}'
    assert text(PREDICT, {}) == ("{\n    \"error\": \"Missing 'inputs' or 'instances' key\"\n}")
