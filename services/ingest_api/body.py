"""Reading a request's body: bounded in bytes and in time, inflated where the vendor inflates."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable

from .replies import (
    BROKEN_ENCODING,
    TOO_LARGE,
    TOO_SLOW,
    UNAVAILABLE,
    UNKNOWN_ENCODING,
    ClientGoneError,
    Message,
    Receive,
    RefusedError,
    Scope,
)

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_RAW_DEFLATE = -zlib.MAX_WBITS
_SWEEP_SECONDS = 1.0
_PATIENCE = 4
"""A body up to so many times the limit is read to its end, and dropped: a client that is still sending when it is
refused never reads why.
"""

_SMALL = 16 * 1024
"""Bytes up to which a body is not counted, since counting is work too: the number of connections bounds those."""

WHOLE_BODY = "plaudit.whole_body"
"""The extension of ASGI by which the door's server gives a body that is already there, once; None if it is not.
``Callable[[Scope], bytes | None]``.
"""


class Arrived:
    """In place of ``receive``, for a request whose body is already there: nothing has to be waited for, or timed."""

    __slots__ = ("_receive", "_told", "body")

    def __init__(self, body: bytes, receive: Receive) -> None:
        self.body = body
        self._receive = receive
        self._told = False

    async def __call__(self) -> Message:
        if self._told:
            return await self._receive()
        self._told = True
        return {"type": "http.request", "body": self.body, "more_body": False}


def arrived(scope: Scope, receive: Receive) -> Receive:
    """``receive``, or what takes its place where the server has the whole body."""
    extensions = scope.get("extensions")
    whole = extensions.get(WHOLE_BODY) if extensions else None
    body = whole(scope) if whole is not None else None
    return receive if body is None else Arrived(body, receive)


class BodyReader:
    """Reads bodies whole. ``timeout``: seconds for one to arrive. ``room``: bytes of large bodies, of all requests
    together that are not answered yet. ``retry_after``: seconds, told to those for whom there is none.
    ``clock``: monotonic seconds.

    One sweep a second looks for senders that are overdue, since a timer for each request would cost more than
    the rest of the reading.
    """

    def __init__(self, timeout: float, clock: Callable[[], float], *, room: int, retry_after: int) -> None:
        self._timeout = timeout
        self._clock = clock
        self._room = room
        self._retry_after = retry_after
        self._reading: dict[asyncio.Task[None], float] = {}
        self._overdue: set[asyncio.Task[None]] = set()
        self._held: dict[asyncio.Task[None], int] = {}

    async def read(self, receive: Receive, limit: int, content_length: bytes | None = None) -> bytes:
        """Raises RefusedError beyond ``limit`` bytes, when the time is up, and where there is no room; ClientGoneError
        if nobody is there.
        """
        if content_length is not None and content_length.isdigit() and int(content_length) > limit * _PATIENCE:
            raise RefusedError(TOO_LARGE, close=True)
        if isinstance(receive, Arrived):
            if len(receive.body) > limit:
                raise RefusedError(TOO_LARGE)
            return receive.body
        task = asyncio.current_task()
        assert task is not None, "requests are served in tasks"
        self._reading[task] = self._clock() + self._timeout
        try:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientGoneError
            body: bytes = message.get("body", b"")
            if message.get("more_body", False):
                body = await self._collect(receive, message, limit, task)
            elif len(body) > limit:
                raise RefusedError(TOO_LARGE)
        except asyncio.CancelledError:
            if task not in self._overdue:
                raise
            task.uncancel()
            raise RefusedError(TOO_SLOW, close=True) from None
        else:
            return body
        finally:
            del self._reading[task]
            self._overdue.discard(task)

    def sweep(self) -> None:
        """Interrupts those who have been reading for too long."""
        now = self._clock()
        for task, deadline in self._reading.items():
            if deadline < now and task not in self._overdue:
                self._overdue.add(task)
                task.cancel()

    async def run(self) -> None:
        """Sweeps for ever; cancel to stop."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.sweep()

    async def _collect(self, receive: Receive, message: Message, limit: int, task: asyncio.Task[None]) -> bytes:
        """A body that comes in several messages, of which this is the first."""
        whole = bytearray()
        while True:
            whole += message.get("body", b"")
            if len(whole) > _SMALL:
                self._make_room(len(whole), task)
            if len(whole) > limit:
                await _discard(receive, message, len(whole), limit * _PATIENCE)
                raise RefusedError(TOO_LARGE)
            if not message.get("more_body", False):
                return bytes(whole)
            message = await receive()
            if message["type"] != "http.request":
                raise ClientGoneError

    def _make_room(self, size: int, task: asyncio.Task[None]) -> None:
        """For a body of that size, until its request is answered: what becomes of it takes as much again."""
        held = self._held.get(task, 0)
        if size - held > self._room:
            message = "Too many large requests are being taken. Try again."
            raise RefusedError(UNAVAILABLE, message, retry_after=self._retry_after, close=True)
        self._room -= size - held
        self._held[task] = size
        if not held:
            task.add_done_callback(self._give_back)

    def _give_back(self, task: asyncio.Task[None]) -> None:
        self._room += self._held.pop(task)


async def _discard(receive: Receive, message: Message, received: int, patience: int) -> None:
    """Reads the rest of a body that is refused anyway, keeping nothing of it."""
    while message.get("more_body", False):
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGoneError
        received += len(message.get("body", b""))
        if received > patience:
            raise RefusedError(TOO_LARGE, close=True)


def inflate(body: bytes, encoding: bytes, limit: int) -> bytes:
    """A body by its Content-Encoding. Never holds more than ``limit`` bytes of output.

    Raises RefusedError for an unknown encoding, a broken one, and for more than ``limit`` bytes.
    """
    match encoding.strip().lower():
        case b"" | b"identity":
            return body
        case b"gzip" | b"x-gzip":
            return _inflated(body, _GZIP_OR_ZLIB, limit)
        case b"deflate":
            # Some clients send zlib's format under this name, as the standard says, and some bare deflate.
            looks_like_zlib = len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
            return _inflated(body, _GZIP_OR_ZLIB if looks_like_zlib else _RAW_DEFLATE, limit)
        case _:
            raise RefusedError(UNKNOWN_ENCODING)


def _inflated(body: bytes, window_bits: int, limit: int) -> bytes:
    output = bytearray()
    while True:
        stream = zlib.decompressobj(window_bits)
        try:
            output += stream.decompress(body, limit + 1 - len(output))
        except zlib.error as error:
            raise RefusedError(BROKEN_ENCODING, str(error)) from error
        if len(output) > limit:
            raise RefusedError(TOO_LARGE)
        if not stream.eof:
            raise RefusedError(BROKEN_ENCODING, "the compressed body ends too early")
        # gzip files may be concatenated; anything else behind the end is ignored, as Node does.
        body = stream.unused_data
        if not body.startswith(b"\x1f\x8b"):
            return bytes(output)
