"""Thousands of malformed requests: each gets a response, and none leaves a trace."""

import socket
import time

import psutil
import pytest
import requests

from benchmarks import malformed
from tests.shared_server import REFERENCE


def check_alive_and_slim(server, count: int) -> None:
    malformed.send_by_rest(server.rest_url, 100)
    process = psutil.Process(server.pid)
    before = process.memory_info().rss
    malformed.send_by_rest(server.rest_url, count)
    malformed.send_by_grpc(server.grpc_target, count // 4)
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
    assert b"HTTP/1.1 413" in received
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
    assert reply.status_code == 413
