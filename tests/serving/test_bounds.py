"""The load that a client can cause is proportional to what it sends."""

import itertools
import json
import threading
import time
from concurrent import futures

import grpc
import numpy as np
import pytest
import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import input_pb2, model_pb2, predict_pb2, regression_pb2

from serving.model_server import example_apis, grpc_server, grpc_service, metrics, servable
from serving.model_server.flags import ServerConfig
from serving.model_server.status import MAX_REST_MESSAGE
from tests.serving import saved_models
from tests.serving.test_pixels import picture

PREDICT = "/v1/models/half_plus_two:predict"
CLASSIFY = "/v1/models/half_plus_two:classify"


def refused(server, body, path: str = PREDICT) -> str:
    """Returns the error of a request that is the client's fault."""
    reply = requests.post(server.rest_url + path, data=body, timeout=30)
    assert reply.status_code == 400, reply.text[:500]
    return reply.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        '{"instances": "' + "a" * 2**20 + '"}',
        '{"signature_name": "' + "a" * 2**20 + '", "instances": [1.0]}',
        '{"instances": [{"' + "a" * 2**20 + '": 1.0}]}',
        '{"a": ' + "[" * 900 + "]" * 900 + "}",
        '{"instances": {"a": [' + ("[" * 200 + "]" * 200 + ",") * 50 + "1]}}",
    ],
    ids=["value", "signature", "name", "nested", "many nested"],
)
def test_errors_have_a_limit(server, only_ours, body):
    assert len(refused(server, body)) < MAX_REST_MESSAGE + 100


def test_broken_json_is_refused_in_time_that_grows_with_its_length(server, only_ours):
    start = time.monotonic()
    assert "at offset: 20000015" in refused(server, '{"instances": [' + "1," * 10_000_000)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"/v1/models/half_plus_two/versions/{'9' * 5000}:predict", b'{"instances": [1.0]}'),
        (PREDICT, b'{"instances": [' + b"[" * 40 + b"1.0" + b"]" * 40 + b"]}"),
        (PREDICT, b'{"inputs": ' + b"[" * 33 + b"1.0" + b"]" * 33 + b"}"),
        (PREDICT, b'{"instances": [1.0, ' + b"9" * 5000 + b"]}"),
        (PREDICT, b'{"instances": ["\\ud800"]}'),
        (CLASSIFY, b'{"examples": [{"\xff": "\xff"}]}'),
        (CLASSIFY, b'{"examples": [{"\xff": [1, "\xff"]}]}'),
        (CLASSIFY, b'{"examples": [{"x": ["\\ud800"]}]}'),
        (CLASSIFY, b'{"signature_name": "\xff", "examples": [{"x": 1.0}]}'),
    ],
    ids=range(9),
)
def test_faults_of_the_client_are_no_internal_errors(server, only_ours, path, body):
    assert refused(server, body, path)


def test_a_message_that_cannot_be_read_is_the_client_s_fault(server, channel, only_ours):
    for method in ("Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"):
        call = channel.unary_unary(f"/tensorflow.serving.PredictionService/{method}")
        for body in (b"\xff", b"\x0a\x05\x0a\x03\xff\xfe\xfd"):  # a name that is not UTF-8
            with pytest.raises(grpc.RpcError) as error:
                call(body, timeout=10)
            assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def tensor(dtype: int, shape: list[int], **values) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = saved_models.COLOURS
    proto = request.inputs["images"]
    proto.dtype = dtype
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    for field, some in values.items():
        getattr(proto, field).extend(some)
    return request


@pytest.mark.parametrize(
    "request_",
    [
        tensor(types_pb2.DT_UINT8, [20_000, 32, 32, 3], int_val=[1]),
        tensor(types_pb2.DT_UINT8, [20_000, 32, 32, 3]),
        tensor(types_pb2.DT_UINT8, [2**30, 0, 32, 3]),
        tensor(types_pb2.DT_STRING, [10_000], string_val=[b"a" * 3072]),
        tensor(types_pb2.DT_FLOAT, [1] * 40, float_val=[1.0]),
    ],
    ids=["one value", "no value", "empty rows", "one string", "dimensions"],
)
def test_a_small_request_does_not_declare_a_large_tensor(
    prediction_service, only_ours, request_
):
    with pytest.raises(grpc.RpcError) as error:
        prediction_service.Predict(request_, timeout=10)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error.value.details() == "tensor parsing error: images"


def test_a_compressed_call_is_refused_before_it_is_unpacked(channel, only_ours):
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        with pytest.raises(grpc.RpcError) as error:
            call(bytes(100 * 2**20), compression=compression, timeout=30)
        assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert "is disabled" in error.value.details()


@pytest.fixture
def limited(monkeypatch):
    """A channel to a server that takes four calls, and the event that those wait for."""
    monkeypatch.setattr(grpc_server, "MAX_RPCS", 4)
    may_end = threading.Event()

    def wait(request, context):
        may_end.wait(20)
        return predict_pb2.PredictResponse()

    methods = {"Wait": grpc_service.handler(predict_pb2.PredictRequest, wait)}
    config = ServerConfig(
        model_base_path="/m", port=0, grpc_max_threads=2, enable_grpc_healthcheck_service=True
    )
    server = grpc_server.GrpcServer(config)
    server.start([grpc.method_handlers_generic_handler("test", methods)])
    try:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield channel, may_end
    finally:
        may_end.set()
        server.drain()


def calls_without_message(channel: grpc.Channel, may_end: threading.Event) -> list:
    """Returns the four calls, which have begun but send nothing."""

    def nothing_yet():
        may_end.wait(20)
        yield from ()

    calls = [channel.stream_unary("/test/Wait").future(nothing_yet()) for _ in range(4)]
    time.sleep(0.5)
    check_refused(channel.unary_unary("/test/Wait"))
    return calls


def check_refused(call) -> None:
    with pytest.raises(grpc.RpcError, match="4 calls are open") as error:
        call(bytes(2**20), timeout=10)
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_open_calls_have_a_limit(limited):
    channel, may_end = limited
    call = channel.unary_unary("/test/Wait")
    for _ in range(2):  # refused calls do not count
        open_calls = [call.future(b"", timeout=20) for _ in range(4)]
        time.sleep(0.5)
        for _ in range(3):
            check_refused(call)
        may_end.set()
        assert [one.result() for one in open_calls] == [b""] * 4
        time.sleep(0.5)  # a call ends a moment after its response
        may_end.clear()


def test_neither_busy_models_nor_watching_clients_hide_the_health(limited):
    channel, may_end = limited
    stub = health_pb2_grpc.HealthStub(channel)
    watching = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(4)]
    for one in watching:
        assert next(one).status == health_pb2.HealthCheckResponse.SERVING
    call = channel.unary_unary("/test/Wait")
    open_calls = [call.future(b"", timeout=20) for _ in range(4)]
    time.sleep(0.5)
    check_refused(call)
    reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert reply.status == health_pb2.HealthCheckResponse.SERVING
    may_end.set()
    assert [one.result() for one in open_calls] == [b""] * 4


def test_a_call_whose_client_leaves_before_its_message_is_over(limited):
    channel, may_end = limited
    call = channel.unary_unary("/test/Wait")
    half = calls_without_message(channel, may_end)
    for one in half:
        one.cancel()
    time.sleep(0.5)
    may_end.set()
    assert call(b"", timeout=10) == b""


def test_a_call_whose_message_does_not_come_is_ended(limited, monkeypatch):
    channel, may_end = limited
    monkeypatch.setattr(grpc_server, "MESSAGE_SECONDS", 3)

    call = channel.unary_unary("/test/Wait")
    half = calls_without_message(channel, may_end)
    for one in half:
        with pytest.raises(grpc.RpcError) as error:
            one.result(timeout=10)
        assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    slow = call.future(b"", timeout=20)  # whose answer, and not its message, takes long
    time.sleep(3.5)
    may_end.set()
    assert slow.result() == b""


def with_context(context_bytes: int, examples: int) -> input_pb2.Input:
    result = input_pb2.Input()
    holder = result.example_list_with_context
    holder.context.features.feature["a"].bytes_list.value.append(bytes(context_bytes))
    for _ in range(examples):
        holder.examples.add()
    return result


def test_a_context_is_not_copied_into_thousands_of_examples(prediction_service, only_ours):
    spec = model_pb2.ModelSpec(name="half_plus_two", signature_name="regress")
    request = regression_pb2.RegressionRequest(
        model_spec=spec, input=with_context(20_000, 10_000)
    )
    assert request.ByteSize() < 50_000
    with pytest.raises(grpc.RpcError) as error:
        prediction_service.Regress(request, timeout=10)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "for 10,000 examples makes 200," in error.value.details()


def test_a_context_for_a_thousand_examples_is_honest():
    assert len(example_apis.serialized_examples(with_context(10_000, 1000))) == 1000


def test_ten_huge_pictures_are_refused_before_they_are_decoded(prediction_service, only_ours):
    png = picture((20_000, 20_000), "PNG")
    assert len(png) < 100_000
    request = predict_pb2.PredictRequest()
    request.model_spec.name = saved_models.COLOURS
    request.model_spec.signature_name = "predict_image_bytes"
    images = request.inputs["image_bytes"]
    images.dtype = types_pb2.DT_STRING
    images.tensor_shape.dim.add(size=10)
    images.string_val.extend([png] * 10)
    start = time.monotonic()
    with pytest.raises(grpc.RpcError) as error:
        prediction_service.Predict(request, timeout=20)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "The images have 4,000,000,000 pixels" in error.value.details()
    assert time.monotonic() - start < 2


def test_latest_used_combinations_of_outputs_stay_ready(tmp_path, monkeypatch):
    monkeypatch.setattr(servable, "MAX_CALLABLES", 3)
    saved_models.write_half_plus(tmp_path / "1", 2.0)
    model = servable.Servable(tmp_path / "1", "m", 1)
    feeds = {"x:0": np.float32([[1]])}
    combinations = [("y:0",), ("y2:0",), ("half:0",), ("y:0", "y2:0"), ("plus:0",)]
    for fetches in itertools.islice(itertools.cycle(combinations), 20):
        model.run(feeds, fetches)
        assert model.run(feeds, fetches)[fetches[0]] is not None
        assert len(model._callables) <= 3
    latest = next(reversed(model._callables))
    assert latest == (("x:0",), combinations[-1], 0)
    model.close()


def test_metrics_count_names_nobody_serves_together():
    counted = metrics.Metrics()
    counted.is_served = lambda name: name == "served"
    for i in range(5000):
        with counted.request(f"{i:04}" * 1000, "predict", "REST"):
            pass
        counted.mlmd.set(1, "served", str(i), "id")
    with counted.request("served", "predict", "REST"):
        pass
    page = counted.page()
    assert 'request_count{model_name="served",status="OK"} 1' in page
    assert f'request_count{{model_name="(other)",status="OK"}} {5000 - 100}' in page
    assert len(page) < 2**21


def test_strings_among_numbers_make_no_large_array(server, only_ours):
    """NumPy gives every element of an array of strings the length of the longest."""
    values = json.dumps({"instances": [1.0] * 200_000 + ["a" * 100_000]})
    assert "is not of expected type: float" in refused(server, values)


def test_many_first_requests_make_one_callable(tmp_path, monkeypatch):
    """Each callable would optimize the graph again: 200 ms for a large one."""
    saved_models.write_half_plus(tmp_path / "1", 2.0)
    model = servable.Servable(tmp_path / "1", "m", 1)
    made = []
    make = model._session._make_callable_from_options

    def slow(options):
        made.append(options)
        time.sleep(0.2)
        return make(options)

    monkeypatch.setattr(model._session, "_make_callable_from_options", slow)
    feeds = {"x:0": np.float32([[1]])}
    with futures.ThreadPoolExecutor(16) as pool:
        # Different deadlines share one, too.
        answers = list(pool.map(lambda i: model.run(feeds, ("y:0",), 1 + i), range(16)))
    assert len(answers) == 16
    assert len(made) == 1
    model.close()
