"""uvicorn's HTTP connection, with limits on heads, waiting requests and idle time."""

import asyncio
import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# The time within which a request's head, or the next part of its body, must arrive, and within
# which the client must read some of a response.
IDLE_SECONDS = 60
MAX_HEAD_BYTES = 65_536
MAX_PIPELINED = 16  # requests that wait while an earlier one is answered

_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


class Connection(HttpToolsProtocol):
    """Reads requests from a socket, within the limits."""

    _head_bytes = 0
    _is_in_body = False
    _silence: asyncio.TimerHandle | None = None
    _writing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()
        if self.limit_concurrency and len(self.connections) > 2 * self.limit_concurrency:
            self._refuse(503, b"Service Unavailable")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unwatch()
        self._unwatch_writing()

    def data_received(self, data: bytes) -> None:
        if self._silence is None or self._is_in_body:
            self._watch()
        if not self._is_in_body:
            self._head_bytes += len(data)
            data = _without_upgrade(data)
        super().data_received(data)
        if not self._is_in_body and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431, b"Request Header Fields Too Large")
        if self.transport.is_closing():  # after an error, too
            self._watch_writing()

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            self.transport.abort()  # a response now would be taken for an earlier request's
            raise _TooManyRequests  # ends the parser
        super().on_headers_complete()
        self._is_in_body = True
        self._head_bytes = 0

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._is_in_body = False
        self._unwatch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch_writing()

    def _watch(self) -> None:
        self._unwatch()
        self._silence = self.loop.call_later(IDLE_SECONDS, self._end_of_patience)

    def _unwatch(self) -> None:
        if self._silence:
            self._silence.cancel()
            self._silence = None

    def _watch_writing(self) -> None:
        """Ends the connection if nothing is read of what is still to be written.

        Closing it would not: that waits until all is written.
        """
        self._unwatch_writing()
        if unread := self.transport.get_write_buffer_size():
            self._writing = self.loop.call_later(IDLE_SECONDS, self._check_writing, unread)

    def _unwatch_writing(self) -> None:
        if self._writing:
            self._writing.cancel()
            self._writing = None

    def _check_writing(self, unread: int) -> None:
        if self.transport.get_write_buffer_size() < unread:
            self._watch_writing()
        else:
            self.transport.abort()

    def _end_of_patience(self) -> None:
        self._refuse(408, b"Request Timeout")

    def _refuse(self, status: int, phrase: bytes) -> None:
        if not self.transport.is_closing():
            head = b"HTTP/1.1 %d %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            self.transport.write(head % (status, phrase))
            self.transport.close()
            self._watch_writing()


class _TooManyRequests(Exception):  # noqa: N818
    """The client does not wait for responses."""


def _without_upgrade(data: bytes) -> bytes:
    """Returns a head without the `Upgrade` header.

    curl offers HTTP/2 with its POST; the parser would then leave the body unread.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"\r\nx-ignore:", head) + end + rest
