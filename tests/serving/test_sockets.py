import socket

import pytest

from serving.model_server.sockets import bound_socket


def test_a_port_is_taken_before_anybody_can_connect_to_it():
    with bound_socket("127.0.0.1", 0, "port") as bound:
        host, port = bound.getsockname()
        assert (host, port > 0) == ("127.0.0.1", True)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, port), timeout=5)
        bound.listen()
        socket.create_connection((host, port), timeout=5).close()


def test_a_port_that_is_taken_is_named_with_its_flag():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match="in use") as refusal:
            bound_socket("127.0.0.1", port, "rest_api_port")
    assert str(refusal.value) == (
        f"Cannot listen on 127.0.0.1:{port}: Address already in use. Try --rest_api_port=0."
    )


def test_an_interface_that_is_not_there_is_named():
    with pytest.raises(OSError, match=r"Cannot listen on 192\.0\.2\.1:0: .*--port=0"):
        bound_socket("192.0.2.1", 0, "port")
