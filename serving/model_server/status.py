"""Errors of the protocol: a status code and a message."""

from typing import TypeAlias

import grpc

Code: TypeAlias = grpc.StatusCode

HTTP_STATUS = {
    Code.OK: 200,
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.OUT_OF_RANGE: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.ABORTED: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.CANCELLED: 499,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}  # every other code is 500

MAX_GRPC_MESSAGE = 1024  # bytes; it travels in a header
MAX_REST_MESSAGE = 8192  # characters
CUT_MARK = "...TRUNCATED"

_CODE_OF_NUMBER = {code.value[0]: code for code in Code}


class ServingError(Exception):
    """A request or a load that failed, with the status for the client."""

    def __init__(self, code: Code, message: str, http_status: int = 0) -> None:
        """Stores the parts; `str` of the error is the message.

        Args:
            code: The gRPC status code.
            message: Text for the client.
            http_status: The HTTP status, if it is not the usual one for the code.
        """
        super().__init__(message)
        self.code = code
        self.message = message
        self.http_status = http_status or HTTP_STATUS.get(code, 500)


def invalid(message: str) -> ServingError:
    """Returns the error of a request that can never succeed."""
    return ServingError(Code.INVALID_ARGUMENT, message)


def to_serving_error(error: Exception) -> ServingError:
    """Returns `error` as a ServingError; TensorFlow's errors keep their code."""
    if isinstance(error, ServingError):
        return error
    number = getattr(error, "error_code", None)
    if isinstance(number, int):
        code = _CODE_OF_NUMBER.get(number, Code.UNKNOWN)
        wrapped = ServingError(code, str(getattr(error, "message", error)))
    else:
        wrapped = ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def cut(message: str, limit: int) -> str:
    """Returns the message cut to `limit` characters, with a mark if it was longer."""
    return message if len(message) <= limit else message[:limit] + CUT_MARK


def cut_for_grpc(message: str) -> str:
    """Returns the message cut to the number of bytes that fit in a gRPC header."""
    encoded = message[: MAX_GRPC_MESSAGE + 1].encode("utf-8", "replace")
    if len(encoded) <= MAX_GRPC_MESSAGE:
        return encoded.decode()
    return encoded[:MAX_GRPC_MESSAGE].decode("utf-8", "ignore") + CUT_MARK
