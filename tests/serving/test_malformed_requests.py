"""Thousands of generated wrong requests: each gets an answer, none leaves a trace."""

import random
import socket
import time

import grpc
import psutil
import pytest
import requests

from tests.serving.conftest import REFERENCE

PREDICT = "/v1/models/{}:{}"
SEEDS = (
    b'{"instances": [1.0, 2.0, 5.0]}',
    b'{"signature_name": "two_outputs", "inputs": {"x": [[1.0], [2.0]]}}',
    b'{"signature_name": "regress", "examples": [{"x": 2.0}, {"x": [1, 2]}]}',
    b'{"instances": [{"text": {"b64": "aGk="}, "number": 3}]}',
    b'{"signature_name": "classify", "context": {}, "examples": [{"image": "abc"}]}',
)
INSERTS = (
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\x00", b"\xff", b"-", b"1e999",
    b"NaN", b"null", b"true", b'{"b64": "!"}', b"[" * 2000, b'{"a":' * 2000, b"9" * 400,
    b'"\\ud800"', b"[[], [[]]]",
)  # fmt: skip
METHODS = ("predict", "classify", "regress")
MODELS = ("half_plus_two", "echo", "colours", "none")


def mutated(noise: random.Random) -> bytes:
    """Returns a body with a few bytes cut, repeated or inserted."""
    body = noise.choice(SEEDS)
    for _ in range(noise.randint(1, 4)):
        at = noise.randrange(len(body) + 1)
        kind = noise.randrange(4)
        if kind == 0:
            body = body[:at]
        elif kind == 1:
            body = body[:at] + noise.choice(INSERTS) + body[at:]
        elif kind == 2:
            body = body[:at] + body[at + noise.randint(1, 5) :]
        else:
            body = body[:at] + bytes([noise.randrange(256)]) + body[at + 1 :]
    return body


def send_malformed(server, count: int) -> None:
    noise = random.Random(count)
    with requests.Session() as session:
        for _ in range(count):
            path = PREDICT.format(noise.choice(MODELS), noise.choice(METHODS))
            reply = session.post(server.rest_url + path, data=mutated(noise), timeout=10)
            assert reply.status_code in (200, 400, 404, 501), server.log()[-3000:]
            if reply.status_code != 200:
                assert reply.headers["Content-Type"] == "application/json"
                assert set(reply.json()) == {"error"}


def send_malformed_grpc(server, count: int) -> None:
    """Sends bytes that are almost a request, past any stub."""
    noise = random.Random(count)
    method = "/tensorflow.serving.PredictionService/{}"
    request = bytes.fromhex("0a0f0a0d68616c665f706c75735f74776f") + (
        b"\x12\x17\x0a\x01x\x12\x12\x08\x01\x12\x04\x12\x02\x08\x01\x22\x04\x00\x00\x80?"
    )
    with grpc.insecure_channel(server.grpc_target) as channel:
        for _ in range(count):
            body = bytearray(request)
            for _ in range(noise.randint(0, 4)):
                body[noise.randrange(len(body))] = noise.randrange(256)
            name = noise.choice(("Predict", "Classify", "Regress", "MultiInference"))
            call = channel.unary_unary(method.format(name))
            try:
                call(bytes(body[: noise.randint(1, len(body))]), timeout=10)
            except grpc.RpcError as error:
                assert error.code() not in (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                ), error.details()


def check_alive_and_slim(server, count: int) -> None:
    send_malformed(server, 100)
    process = psutil.Process(server.pid)
    before = process.memory_info().rss
    send_malformed(server, count)
    send_malformed_grpc(server, count // 4)
    grown = process.memory_info().rss - before
    assert grown < 50 * 2**20, f"{grown / 2**20:.0f} MiB more than before"
    url = server.rest_url + "/v1/models/half_plus_two/versions/1:predict"
    reply = requests.post(url, data='{"instances": [2.0]}', timeout=10)
    assert reply.json() == {"predictions": [3.0]}


@pytest.mark.skipif(bool(REFERENCE), reason="reads the memory of our process")
def test_two_thousand_malformed_requests_change_nothing(server):
    check_alive_and_slim(server, 1600)


@pytest.mark.slow
@pytest.mark.skipif(bool(REFERENCE), reason="reads the memory of our process")
def test_ten_thousand_malformed_requests_change_nothing(server):
    check_alive_and_slim(server, 8000)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"NONSENSE /v1/models/m HTTP/1.1\r\n\r\n",
        b"GET /v1/models/m HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /v1/models/m:predict HTTP/1.1\r\nContent-Length: ten\r\n\r\n",
        b"POST /v1/models/m:predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/models/m:predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"GET /v1/models/m HTTP/1.1\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
        bytes(range(256)),
    ],
    ids=range(10),
)
def test_http_that_is_none_ends_the_connection_or_gets_an_error(server, request_bytes):
    address = (server.ready.host, server.ready.rest_api_port)
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(request_bytes)
        connection.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b" 200 " not in received[:20]


def test_body_over_the_limit_is_refused_unread(server, only_ours):
    url = server.rest_url + "/v1/models/half_plus_two:predict"
    start = time.monotonic()
    head = (
        b"POST /v1/models/half_plus_two:predict HTTP/1.1\r\nHost: x\r\n"
        b"Content-Length: 99999999999\r\n\r\n"
    )
    address = (server.ready.host, server.ready.rest_api_port)
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(head)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b"HTTP/1.1 429" in received
    assert b"The request is larger than 67,108,864 bytes" in received
    assert time.monotonic() - start < 5
    assert requests.get(url.removesuffix(":predict"), timeout=10).ok


def test_gzip_bomb_is_defused(server, only_ours):
    import zlib

    packer = zlib.compressobj(wbits=31)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(100)) + packer.flush()
    assert len(bomb) < 2**18
    url = server.rest_url + "/v1/models/half_plus_two:predict"
    headers = {"Content-Encoding": "gzip"}
    reply = requests.post(url, data=bomb, headers=headers, timeout=10)
    assert reply.status_code == 429
