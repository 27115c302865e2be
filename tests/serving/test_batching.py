"""Concurrent requests share a step, and each gets its own rows back."""

import asyncio
import contextlib
import threading
import time
from concurrent import futures

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.model_server import config
from serving.model_server.batching import BatchingServable
from serving.model_server.inference import CLASSIFY_METHOD
from serving.model_server.metrics import Metrics
from serving.model_server.process import ServerProcess
from serving.model_server.status import Code, ServingError
from tests.serving import saved_models

X, Y, TOTAL = "x:0", "y:0", "Sum:0"


@pytest.fixture(scope="module")
def half_plus_two(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "1"
    saved_models.write_half_plus(path, 2.0)
    return path


@pytest.fixture
def batching(half_plus_two):
    """Returns a function that loads the model with the given parameters."""
    loaded = []

    def load(**parameters):
        metrics = Metrics()
        servable = BatchingServable(
            half_plus_two,
            "m",
            1,
            parameters=config.BatchingParameters(**parameters),
            metrics=metrics,
        )
        loaded.append(servable)
        return servable, metrics

    yield load
    for servable in loaded:
        servable.close()


def run_at_once(servable, values):
    """Runs each value in its own thread; returns the results in order."""
    barrier = threading.Barrier(len(values))

    def run(value):
        barrier.wait()
        return servable.run({X: np.float32(value)}, (Y,), 10)[Y].tolist()

    with futures.ThreadPoolExecutor(len(values)) as pool:
        return list(pool.map(run, values))


def runs(metrics: Metrics) -> int:
    return sum(int(line.split()[-1]) for line in metrics.batch_runs.lines())


def test_each_request_gets_its_own_rows(batching):
    servable, metrics = batching(batch_timeout_micros=300_000, max_batch_size=6)
    values = [[[2.0]], [[4.0], [6.0]], [[8.0], [10.0], [12.0]]]
    assert run_at_once(servable, values) == [
        [[3.0]],
        [[4.0], [5.0]],
        [[6.0], [7.0], [8.0]],
    ]
    assert runs(metrics) == 1


def test_full_batches_do_not_wait(batching):
    servable, metrics = batching(batch_timeout_micros=60_000_000, max_batch_size=2)
    assert run_at_once(servable, [[[float(i)]] for i in range(8)]) == [
        [[i / 2 + 2]] for i in range(8)
    ]
    assert runs(metrics) == 4


def test_batches_are_filled_up_to_an_allowed_size(batching):
    servable, _ = batching(allowed_batch_sizes=(4, 8), max_batch_size=8)
    sizes = []
    super_run = BatchingServable.__mro__[1].run
    outputs = super_run(servable, {X: servable._joined([np.float32([[2]])], 1)}, (Y,))
    sizes.append(len(outputs[Y]))
    assert sizes == [4]
    assert run_at_once(servable, [[[2.0]]]) == [[[3.0]]]


def test_shapes_that_differ_go_into_batches_of_their_own(batching):
    servable, metrics = batching(batch_timeout_micros=200_000, max_batch_size=2)
    results = run_at_once(servable, [[[2.0]], [[2.0, 4.0]]])
    assert results == [[[3.0]], [[3.0, 4.0]]]
    assert runs(metrics) == 2


def test_what_arrives_while_a_step_runs_goes_into_the_next(batching, monkeypatch):
    servable, metrics = batching()
    is_running, may_end = threading.Event(), threading.Event()
    plain = BatchingServable.__mro__[1].run

    def slow(self, feeds, fetches, timeout_seconds=None):
        is_running.set()
        may_end.wait(5)
        return plain(self, feeds, fetches, timeout_seconds)

    monkeypatch.setattr("serving.model_server.batching.HOLD_SECONDS", 5)
    monkeypatch.setattr(BatchingServable.__mro__[1], "run", slow)
    with futures.ThreadPoolExecutor(9) as pool:
        first = pool.submit(run_at_once, servable, [[[2.0]]])
        is_running.wait(5)
        others = pool.submit(run_at_once, servable, [[[float(i)]] for i in range(8)])
        wait_until_enqueued(servable, 8)
        may_end.set()
        assert first.result() == [[[3.0]]]
        assert others.result() == [[[i / 2 + 2]] for i in range(8)]
    assert runs(metrics) == 2


def test_a_full_batch_does_not_wait_for_an_older_one_of_another_shape(batching):
    servable, _ = batching(batch_timeout_micros=60_000_000, max_batch_size=2)
    with futures.ThreadPoolExecutor(1) as pool:
        older = pool.submit(run_at_once, servable, [[[2.0, 4.0]]])
        wait_until_enqueued(servable, 1)
        assert run_at_once(servable, [[[6.0]], [[8.0]]]) == [[[5.0]], [[6.0]]]
        assert not older.done()
        assert run_at_once(servable, [[[6.0, 8.0]]]) == [[[5.0, 6.0]]]
        assert older.result() == [[[3.0, 4.0]]]


def test_a_long_step_does_not_hold_the_next_one_up(batching, monkeypatch):
    servable, _ = batching(num_batch_threads=2)
    may_end = threading.Event()
    plain = BatchingServable.__mro__[1].run

    def slow(self, feeds, fetches, timeout_seconds=None):
        if feeds[X][0, 0] == 2:
            may_end.wait(10)
        return plain(self, feeds, fetches, timeout_seconds)

    monkeypatch.setattr(BatchingServable.__mro__[1], "run", slow)
    with futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(run_at_once, servable, [[[2.0]]])
        time.sleep(0.1)
        assert run_at_once(servable, [[[4.0]]]) == [[[4.0]]]
        assert not first.done()
        may_end.set()


def wait_until_enqueued(servable, count: int) -> None:
    deadline = time.monotonic() + 5
    while servable._rows_waiting < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_large_request_is_run_in_parts(batching):
    """Source: session_bundle_config.proto, enable_large_batch_splitting."""
    servable, metrics = batching(
        max_batch_size=10, enable_large_batch_splitting=True, max_execution_batch_size=4
    )
    values = [[float(i)] for i in range(10)]
    assert run_at_once(servable, [values]) == [[[i / 2 + 2] for i in range(10)]]
    assert runs(metrics) == 3
    with pytest.raises(ServingError, match="Task size 11 is larger than maximum input"):
        servable.run({X: np.zeros((11, 1), np.float32)}, (Y,))


def test_the_parts_of_a_large_request_run_side_by_side(batching, monkeypatch):
    servable, _ = batching(
        num_batch_threads=2,
        max_batch_size=4,
        enable_large_batch_splitting=True,
        max_execution_batch_size=2,
    )
    plain, both_run = BatchingServable.__mro__[1].run, threading.Barrier(2)

    def meet(self, feeds, fetches, timeout_seconds=None):
        both_run.wait(5)
        return plain(self, feeds, fetches, timeout_seconds)

    monkeypatch.setattr(BatchingServable.__mro__[1], "run", meet)
    assert run_at_once(servable, [[[2.0], [4.0], [6.0], [8.0]]]) == [
        [[3.0], [4.0], [5.0], [6.0]]
    ]


def test_inputs_of_different_lengths_are_padded_where_the_parameters_say_so(batching):
    """Source: batching_util.cc, AddPadding: with the tensor's own first element."""
    servable, metrics = batching(
        batch_timeout_micros=300_000, max_batch_size=2, pad_variable_length_inputs=True
    )
    assert run_at_once(servable, [[[2.0]], [[4.0, 6.0]]]) == [[[3.0, 3.0]], [[4.0, 5.0]]]
    assert runs(metrics) == 1


def test_one_bad_request_fails_alone(tmp_path):
    path = tmp_path / "7"
    saved_models.write_colours(path)
    parameters = config.BatchingParameters(batch_timeout_micros=300_000, max_batch_size=3)
    servable = BatchingServable(path, "m", 7, parameters=parameters, metrics=Metrics())
    signature = servable.signatures["predict_image_bytes"]
    fed = signature.inputs["image_bytes"].name
    fetched = signature.outputs["classes"].name
    gif = (
        b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xf0\x14\x14\x00\x00\x00,\x00\x00\x00\x00"
        b"\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
    )

    def run(content: bytes):
        try:
            return servable.run({fed: np.array([content], object)}, (fetched,), 10)[fetched]
        except Exception as error:
            return type(error).__name__

    with futures.ThreadPoolExecutor(3) as pool:
        first, bad, last = pool.map(run, [gif, b"no image", gif])
    servable.close()
    assert first.tolist() == last.tolist() == [b"airplane"]
    assert bad == "InvalidArgumentError"


def test_too_much_is_refused(batching):
    servable, _ = batching(max_batch_size=2, max_enqueued_batches=1, num_batch_threads=1)
    with pytest.raises(ServingError, match="Task size 3 is larger than maximum input"):
        servable.run({X: np.zeros((3, 1), np.float32)}, (Y,))
    with pytest.raises(ServingError, match="at least one dimension"):
        servable.run({X: np.float32(1)}, (Y,))
    slow, _ = batching(batch_timeout_micros=10**7, max_batch_size=2, max_enqueued_batches=1)
    waiting = threading.Thread(target=slow.run, args=({X: np.float32([[1]])}, (Y,), 1))
    waiting.start()
    wait_until_enqueued(slow, 1)
    with pytest.raises(ServingError) as refused:
        slow.run({X: np.float32([[1], [2]])}, (Y,), 1)
    assert refused.value.code == Code.UNAVAILABLE
    assert slow.run({X: np.float32([[1]])}, (Y,), 5)[Y].tolist() == [[2.5]]
    waiting.join()


def test_a_deadline_that_passes_in_the_queue_is_told_and_the_request_is_not_run(batching):
    """Source: batching_session_test.cc, EnqueuedLongerThanTimeout."""
    servable, metrics = batching(batch_timeout_micros=300_000, max_batch_size=2)
    with pytest.raises(ServingError, match="timeout exceeded while waiting in batch") as late:
        servable.run({X: np.float32([[1]])}, (Y,), 0.05)
    assert late.value.code == Code.RESOURCE_EXHAUSTED
    values = [[[2.0]], [[4.0]]]  # fit into one step only if the late request takes no place
    assert run_at_once(servable, values) == [[[3.0]], [[4.0]]]
    assert runs(metrics) == 1


def test_requests_of_an_event_loop_share_steps_with_those_of_threads(batching):
    servable, metrics = batching(batch_timeout_micros=5_000_000, max_batch_size=4)

    async def ask() -> list:
        runs = (servable.run_async({X: np.float32([[x]])}, (Y,), 10) for x in (2, 4))
        return [outputs[Y].tolist() for outputs in await asyncio.gather(*runs)]

    with futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(servable.run, {X: np.float32([[6.0], [8.0]])}, (Y,), 10)
        assert asyncio.run(ask()) == [[[3.0]], [[4.0]]]
        assert waiting.result()[Y].tolist() == [[5.0], [6.0]]
    assert runs(metrics) == 1


def test_a_request_of_an_event_loop_ends_with_its_deadline_its_client_or_its_error(batching):
    servable, _ = batching(batch_timeout_micros=5_000_000, max_batch_size=2)

    async def ask() -> None:
        one = {X: np.float32([[1]])}
        with pytest.raises(ServingError, match="timeout exceeded while waiting in batch"):
            await servable.run_async(one, (Y,), 0.05)
        gone = asyncio.ensure_future(servable.run_async(one, (Y,)))
        await asyncio.sleep(0.05)
        assert servable._rows_waiting == 1
        gone.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await gone
        assert servable._rows_waiting == 0
        with pytest.raises(ServingError, match="larger than maximum"):
            await servable.run_async({X: np.zeros((3, 1), np.float32)}, (Y,))
        with pytest.raises(ServingError, match="Expects arg"):
            await servable.run_async({X: np.array([[True], [False]])}, (Y,))

    asyncio.run(ask())


def test_a_deadline_that_passes_while_the_step_runs_is_one_of_the_session(
    batching, monkeypatch
):
    """Source: direct_session.cc of TensorFlow, WaitForNotification."""
    servable, _ = batching()
    may_end = threading.Event()
    monkeypatch.setattr(
        BatchingServable.__mro__[1], "run", lambda *arguments: may_end.wait(5) and {}
    )
    with pytest.raises(ServingError, match="Timed out waiting for notification") as late:
        servable.run({X: np.float32([[1]])}, (Y,), 0.2)
    may_end.set()
    assert late.value.code == Code.DEADLINE_EXCEEDED


def grpc_requests() -> dict:
    """Returns a request of one example for each API."""
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(2.0)
    requests = {
        "Predict": predict_pb2.PredictRequest(),
        "Classify": classification_pb2.ClassificationRequest(),
        "Regress": regression_pb2.RegressionRequest(),
        "MultiInference": inference_pb2.MultiInferenceRequest(),
    }
    requests["Predict"].inputs["x"].CopyFrom(tf.make_tensor_proto([[2.0]], tf.float32))
    for signature in ("Classify", "Regress"):
        requests[signature].model_spec.signature_name = signature.lower()
    task = requests["MultiInference"].tasks.add(method_name=CLASSIFY_METHOD)
    task.model_spec.signature_name = "classify"
    for api, request in requests.items():
        spec = task.model_spec if api == "MultiInference" else request.model_spec
        spec.name = "m"
        if api != "Predict":
            request.input.example_list.examples.append(example)
    return requests


def test_requests_over_grpc_wait_for_their_batch_without_a_thread(half_plus_two, tmp_path):
    batching = tmp_path / "batching.config"
    batching.write_text("max_batch_size { value: 2 } batch_timeout_micros { value: 60000000 }")
    flags = ("--enable_batching", f"--batching_parameters_file={batching}")
    path = half_plus_two.parent
    with (
        ServerProcess(
            "--model_name=m", f"--model_base_path={path}", "--grpc_max_threads=1", *flags
        ) as server,
        grpc.insecure_channel(server.grpc_target) as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for api, request in grpc_requests().items():
            send = getattr(stub, api).future
            pair = [send(request, timeout=10) for _ in range(2)]
            assert pair[0].result() == pair[1].result(), api


def test_parameters_are_read_from_the_c_server_s_file(tmp_path):
    file = tmp_path / "batching.config"
    file.write_text(
        "max_batch_size { value: 8 } batch_timeout_micros { value: 5 } "
        "num_batch_threads { value: 3 } max_enqueued_batches { value: 4 } "
        'thread_pool_name { value: "pool" } '
        "allowed_batch_sizes: 2 allowed_batch_sizes: 8"
    )
    assert config.read_batching_parameters(file) == config.BatchingParameters(
        max_batch_size=8,
        batch_timeout_micros=5,
        max_enqueued_batches=4,
        num_batch_threads=3,
        allowed_batch_sizes=(2, 8),
    )
    file.write_text("max_batch_size { value: 9 } allowed_batch_sizes: 8")
    with pytest.raises(ValueError, match="end with max_batch_size"):
        config.read_batching_parameters(file)
    file.write_text("max_batch: 9")
    with pytest.raises(ValueError, match="Error parsing text-format"):
        config.read_batching_parameters(file)
