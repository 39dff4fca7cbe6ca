"""One HTTP/1.1 connection that carries one request at a time: no more of HTTP than our own requests need."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

_HEAD_END = b"\r\n\r\n"


class Owner(Protocol):
    """Who sends over connections."""

    def connected(self, connection: Connection) -> None: ...

    def answered(self, connection: Connection, status: int, head: bytes, body: bytes) -> None: ...

    def disconnected(self, connection: Connection) -> None:
        """The connection is gone. If it was busy, its answer is lost."""


class Connection(asyncio.Protocol):
    """Reports to its owner; remembers for it which request is under way, and since when.

    number: the request, or -1 while idle. copy: which of its concurrent copies. intended, sent: monotonic seconds.
    sent_at: microseconds since 1970.
    """

    __slots__ = ("_buffer", "_owner", "_transport", "copy", "intended", "lost", "number", "sent", "sent_at")

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.number = -1
        self.copy = 0
        self.intended = self.sent = 0.0
        self.sent_at = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._owner.connected(self)

    def write(self, request: bytes) -> None:
        assert self._transport is not None
        self._transport.write(request)

    def abort(self) -> None:
        """Closes at once. The owner hears of it as of any other loss."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        head_end = data.find(_HEAD_END)
        if head_end < 0:
            self._buffer = data
            return
        head = data[:head_end].lower()
        body_start = head_end + len(_HEAD_END)
        try:
            body_end = _body_end(head, data, body_start)
            status = int(head[9:12])
        except ValueError:
            self.abort()
            return
        if body_end is None or len(data) < body_end:
            self._buffer = data
            return
        self._buffer = data[body_end:]
        if self._buffer or self.number < 0:
            # Bytes that answer nothing: where one answer ends and the next begins is no longer known.
            self.abort()
            return
        self._owner.answered(self, status, head, data[body_start:body_end])
        if b"\r\nconnection: close" in head:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._owner.disconnected(self)
        if not self.lost.done():
            self.lost.set_result(None)


def _body_end(head: bytes, data: bytes, body_start: int) -> int | None:
    """Where the body ends; None while that cannot be told. Raises ValueError for a head that makes no sense."""
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        line_end = head.find(b"\r\n", at + 2)
        return body_start + int(head[at + 17 : line_end if line_end >= 0 else len(head)])
    if b"\r\ntransfer-encoding: chunked" in head:
        last_chunk = data.find(b"0\r\n\r\n", body_start)
        return last_chunk + 5 if last_chunk >= 0 else None
    return body_start
