"""Connections: slow, large, doubtful or vanished clients do not harm others."""

import contextlib
import socket
import statistics
import threading
import time

import pytest
import requests

from serving.model_server import http_connection, http_server
from serving.model_server.flags import ServerConfig
from serving.model_server.process import ServerProcess
from serving.model_server.rest import Reply
from tests.serving import saved_models

PREDICT = b"POST /v1/models/half_plus_two:predict HTTP/1.1\r\nHost: x\r\n"
BODY = b'{"inputs": 2.0}'


@pytest.fixture(scope="module")
def own_server(models_dir, only_ours_in_module):
    """A server with two workers and a small limit on bodies."""
    base = models_dir / saved_models.HALF_PLUS_TWO
    with ServerProcess(
        f"--model_name={saved_models.HALF_PLUS_TWO}",
        f"--model_base_path={base}",
        "--rest_api_num_threads=2",
        f"--max_request_bytes={2**20}",
    ) as process:
        yield process


@pytest.fixture(scope="module")
def only_ours_in_module():
    from tests.shared_server import REFERENCE

    if REFERENCE:
        pytest.skip("about the server of this repository")


def connect(server) -> socket.socket:
    return socket.create_connection((server.ready.host, server.ready.rest_api_port), 20)


def answer(server, request: bytes) -> bytes:
    """Returns everything received until the server closes, for at most two seconds."""
    with connect(server) as connection:
        connection.sendall(request)
        connection.settimeout(2)
        received = b""
        with contextlib.suppress(TimeoutError):
            while part := connection.recv(65536):
                received += part
    return received


def p99_ms(server, seconds: float = 3) -> float:
    """Returns the p99 latency of a well-behaved client."""
    times = []
    with requests.Session() as session:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            start = time.perf_counter()
            url = f"{server.rest_url}/v1/models/half_plus_two:predict"
            assert session.post(url, data=BODY, timeout=10).ok
            times.append(time.perf_counter() - start)
    return statistics.quantiles(times, n=100)[98] * 1000


def head(length: int) -> bytes:
    return PREDICT + b"Content-Length: %d\r\n\r\n" % length


def test_slow_clients_keep_nobody_waiting(own_server):
    """64 clients drip a body, 500 never finish theirs, and 2,000 send nothing."""
    with contextlib.ExitStack() as stack:

        def connected(count: int, sent: bytes) -> list[socket.socket]:
            connections = [stack.enter_context(connect(own_server)) for _ in range(count)]
            for connection in connections:
                connection.sendall(sent)
            return connections

        dripping = connected(64, head(1000) + b"{")
        connected(500, head(1000) + b"{" * 500)
        connected(2000, b"")
        is_over = threading.Event()

        def drip() -> None:
            while not is_over.wait(0.5):
                for connection in dripping:
                    connection.sendall(b" ")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            assert p99_ms(own_server) < 100
        finally:
            is_over.set()
            thread.join()


@pytest.mark.parametrize(
    "lengths",
    [
        b"Content-Length: 15\r\nContent-Length: 16\r\n",
        b"Content-Length: 15\r\nContent-Length: 15\r\n",
        b"Content-Length: 15, 15\r\n",
        b"Content-Length: +15\r\n",
        b"Content-Length: 15\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 15\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Content-Length : 15\r\n",
        b"X: a\r\n Content-Length: 15\r\n",
    ],
    ids=range(10),
)
def test_doubtful_lengths_are_refused(own_server, lengths):
    """If a proxy reads another length, the rest of a body becomes a request."""
    received = answer(own_server, PREDICT + lengths + b"\r\n" + BODY)
    assert received.startswith(b"HTTP/1.1 400 ")
    assert received.count(b"HTTP/1.1 ") == 1


def test_an_absolute_uri_is_served(own_server):
    request = (
        PREDICT.replace(b"POST /", b"POST http://other:1/") + b"Content-Length: 15\r\n\r\n"
    )
    assert answer(own_server, request + BODY).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_large_body_is_answered_even_while_it_is_sent(own_server, is_chunked):
    parts = (b" " * 65536 for _ in range(64))
    data = parts if is_chunked else b"".join(parts)
    url = f"{own_server.rest_url}/v1/models/half_plus_two:predict"
    reply = requests.post(url, data=data, timeout=20)
    assert reply.status_code == 413
    assert "larger than 1,048,576 bytes" in reply.json()["error"]


def test_many_large_bodies_at_once_are_too_many(own_server):
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect(own_server)) for _ in range(12)]
        for connection in connections:
            connection.sendall(head(2**20) + b" " * (2**20 - 10))
        time.sleep(0.5)
        replies = []
        for connection in connections:
            connection.settimeout(0.5)
            with contextlib.suppress(TimeoutError):
                replies.append(connection.recv(1000)[:12])
        assert 4 <= len(replies) <= 6
        assert set(replies) == {b"HTTP/1.1 429"}
    assert p99_ms(own_server, 0.5) < 1000


def test_a_head_without_end_is_refused(own_server):
    endless = b"GET /v1/models/half_plus_two HTTP/1.1\r\nX: " + b"a" * 400_000
    with connect(own_server) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(endless)
        assert connection.recv(100).startswith(b"HTTP/1.1 431 ")


class Slow:
    """A slow API."""

    def __init__(self, seconds: float, body: bytes = b"done") -> None:
        self.seconds = seconds
        self.body = body

    def answer(self, method: str, path: str, body: bytes, origin: str) -> Reply:
        time.sleep(self.seconds)
        return Reply(200, self.body)


@contextlib.contextmanager
def started(api: Slow, timeout_seconds: float | None = None, **settings):
    """Runs only HTTP; returns the URL."""
    config = ServerConfig(model_base_path="/m", rest_api_port=0, **settings)
    server = http_server.HttpServer(config, api, timeout_seconds)
    server.start()
    try:
        yield f"http://127.0.0.1:{server.port}/"
    finally:
        server.drain()


def test_too_many_connections_get_503(monkeypatch):
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 10)
    with started(Slow(0)) as url, contextlib.ExitStack() as stack:
        address = ("127.0.0.1", int(url.split(":")[2].strip("/")))
        for _ in range(10):
            stack.enter_context(socket.create_connection(address, 5))
        assert requests.get(url, timeout=10).status_code == 503
        for _ in range(10):
            stack.enter_context(socket.create_connection(address, 5))
        last = stack.enter_context(socket.create_connection(address, 5))
        assert last.recv(100).startswith(b"HTTP/1.1 503 ")  # before it sends anything
        stack.close()
        time.sleep(0.3)
        assert requests.get(url, timeout=10).ok


def test_what_is_at_work_too_long_is_answered_with_504(monkeypatch):
    monkeypatch.setattr(http_server, "GRACE_SECONDS", 0.1)
    with started(Slow(3), 0.2) as url:
        start = time.monotonic()
        assert requests.get(url, timeout=10).status_code == 504
        assert time.monotonic() - start < 2


def test_silence_ends_a_connection(monkeypatch):
    monkeypatch.setattr(http_connection, "IDLE_SECONDS", 0.3)
    with started(Slow(0.6)) as url:
        address = ("127.0.0.1", int(url.split(":")[2].strip("/")))
        for sent in (b"", b"GET / HT", b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n1"):
            with socket.create_connection(address, 5) as connection:
                connection.sendall(sent)
                assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
        assert requests.get(url, timeout=10).ok  # silent while the server works


def received(connection: socket.socket, pause_seconds: float = 0) -> int:
    """Returns the number of bytes that come before the connection ends."""
    count = 0
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(2**20):
            count += len(part)
            time.sleep(pause_seconds)
    return count


@pytest.mark.parametrize("header", [b"", b"Connection: close\r\n"], ids=["kept", "closed"])
def test_a_client_that_reads_nothing_loses_its_connection(monkeypatch, header):
    monkeypatch.setattr(http_connection, "IDLE_SECONDS", 0.3)
    large = 50 * 2**20
    with started(Slow(0, bytes(large))) as url:
        address = ("127.0.0.1", int(url.split(":")[2].strip("/")))
        with socket.create_connection(address, 5) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n" + header + b"\r\n")
            time.sleep(2)
            assert received(connection) < large


def test_a_client_that_reads_slowly_gets_everything(monkeypatch):
    monkeypatch.setattr(http_connection, "IDLE_SECONDS", 0.5)
    large = 50 * 2**20
    with started(Slow(0, bytes(large))) as url:
        address = ("127.0.0.1", int(url.split(":")[2].strip("/")))
        with socket.create_connection(address, 5) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert received(connection, 0.02) > large


def test_requests_that_wait_on_one_connection_are_limited():
    request = b"GET / HTTP/1.1\r\n\r\n"
    with started(Slow(0.05)) as url:
        address = ("127.0.0.1", int(url.split(":")[2].strip("/")))
        with socket.create_connection(address, 5) as connection:
            connection.sendall(request * 16 + request[:-2] + b"Connection: close\r\n\r\n")
            replies = b"".join(iter(lambda: connection.recv(65536), b""))
            assert replies.count(b"HTTP/1.1 200 ") == 17
        with socket.create_connection(address, 5) as connection:
            connection.sendall(request * 1000)
            start = time.monotonic()
            assert received(connection) == 0
            assert time.monotonic() - start < 2
        assert requests.get(url, timeout=10).ok


def test_requests_at_work_are_answered_before_the_end():
    with started(Slow(0.5)) as url:
        replies = []
        thread = threading.Thread(target=lambda: replies.append(requests.get(url, timeout=10)))
        thread.start()
        time.sleep(0.2)
    thread.join()
    assert replies[0].ok
    assert replies[0].headers["Connection"] == "close"
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=10)


def test_a_port_that_is_taken_is_named():
    with started(Slow(0)) as url:
        port = int(url.split(":")[2].strip("/"))
        with pytest.raises(OSError, match=f"Cannot listen on 127.0.0.1:{port}"):
            http_server.HttpServer(
                ServerConfig(model_base_path="/m", rest_api_port=port), Slow(0), None
            ).start()


def test_curl_may_offer_http_2(own_server):
    request = PREDICT + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 15\r\n\r\n"
    assert answer(own_server, request + BODY).startswith(b"HTTP/1.1 200 ")
