"""Sockets that reserve a port before they listen."""

import socket


def bound_socket(host: str, port: int, flag: str) -> socket.socket:
    """Returns a socket that is bound to a port and does not listen yet.

    Args:
        host: Name or address of the interface.
        port: 0 picks a free one.
        flag: The port's flag, for the error message.

    Raises:
        OSError: The port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise OSError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Try --{flag}=0."
        ) from error
    return bound
