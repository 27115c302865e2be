"""The load generators of `cifar bench serving`, and what they count."""

import shutil

import grpc
import pytest

from benchmarks import load
from tests.shared_server import free_port

METHOD = "/test.Echo/Echo"


@pytest.fixture
def echo():
    """A server that echoes requests, and rejects every other one of `b"odd"`."""
    from concurrent import futures

    asked = []

    def answer(body: bytes, context: grpc.ServicerContext) -> bytes:
        asked.append(body)
        if body == b"odd" and len(asked) % 2:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "odd")
        return body

    server = grpc.server(futures.ThreadPoolExecutor(8))
    handler = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("test.Echo", {"Echo": handler}),)
    )
    target = f"127.0.0.1:{free_port()}"
    server.add_insecure_port(target)
    server.start()
    yield target, asked
    server.stop(None)


@pytest.mark.parametrize("generator", ["h2load", "Python"])
def test_requests_and_the_cost_of_the_clients_are_counted(
    echo, tmp_path, monkeypatch, generator
):
    if generator == "h2load" and not shutil.which("h2load"):
        pytest.skip("h2load is not installed")
    if generator == "Python":
        monkeypatch.setattr(load.shutil, "which", lambda name: None)
    target, asked = echo
    found = load.measure(target, METHOD, b"a" * 3000, tmp_path, clients=4, seconds=1)
    assert found["generator"] == generator
    assert found["clients"] == 4
    assert found["requests"] > 50
    assert found["failures"] == 0
    assert 0 < found["share_of_cores"] < 1
    assert set(asked) == {b"a" * 3000}


def test_refusals_are_counted_and_the_first_is_kept(echo, tmp_path):
    target, _ = echo
    found = load.python_clients(target, METHOD, b"odd", tmp_path, clients=2, seconds=1)
    assert found["failures"] > 10
    assert found["first_failure"] == "odd"
