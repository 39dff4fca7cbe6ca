"""One keep-alive HTTP/1.1 connection to a vendor, for requests of which only the status of the answer matters.

A general client costs ten times as much a request, which would be most of what the door itself costs: measured, see
docs/relay.md. Parsing is httptools', as on the door's own side.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from typing import NamedTuple, cast

import httptools

from shared.errors import PlauditError

from .upstream import Upstream

_COPY_BELOW = 64 * 1024
_LONGEST_PAUSE = 3600.0
_RETRY_AFTER = re.compile(rb"\r\nretry-after:[ \t]*(\d+)[ \t]*(?:\r\n|$)", re.IGNORECASE)


class NotSentError(PlauditError):
    """No connection could be had, so the vendor has not seen the request: it may be sent again."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UntrustedError(NotSentError):
    """Whoever answers there has no certificate that proves it to be the vendor: nothing was sent."""


class UnansweredError(PlauditError):
    """The connection ended, or time ran out, before there was a status: the vendor may have taken it or not."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class VendorAnswer(NamedTuple):
    """first: what came first of the answer, its headers among it."""

    status: int
    first: bytes

    @property
    def retry_after(self) -> float | None:
        """Seconds, where the vendor told them. Looked for only when asked: most answers need no look at headers."""
        found = _RETRY_AFTER.search(self.first.partition(b"\r\n\r\n")[0])
        return min(float(found[1]), _LONGEST_PAUSE) if found else None


class Connection(asyncio.Protocol):
    """Open it with ``connect``. One request at a time. ``clock``: monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiting: asyncio.Future[VendorAnswer] | None = None
        self._status = 0
        self._first = b""
        self._deadline = 0.0
        self._loop = asyncio.get_running_loop()
        self._idle_since = clock()

    def usable(self, idle_limit: float) -> bool:
        """Whether it is open and was used within ``idle_limit`` seconds."""
        return self._transport is not None and self._clock() - self._idle_since <= idle_limit

    def exchange(self, head: bytes, body: bytes, deadline: float) -> Awaitable[VendorAnswer]:
        """Sends a request; what comes back is awaited. ``deadline``: by the clock, when ``expire`` may end it.

        Raises UnansweredError, at once or when it is awaited. Not a coroutine: a frame less between an answer and
        whoever waits for it.
        """
        if self._transport is None:
            raise UnansweredError("the connection is closed")
        self._status, self._first = 0, b""
        self._deadline = deadline
        self._waiting = waiting = self._loop.create_future()
        if len(body) < _COPY_BELOW:
            self._transport.write(head + body)
        else:
            self._transport.writelines([head, body])
        return waiting

    def expire(self) -> None:
        """Ends an exchange that is beyond its deadline. Called now and then: a timer for each would cost more."""
        if self._waiting is not None and self._clock() > self._deadline:
            self._give_up("no answer in time")

    def close(self) -> None:
        """At once. A request on its way is unanswered."""
        self._give_up("closed on our side")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes, though they are what those promise.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._status:
            # Closed in the middle of the answer, or its end is the end of the answer: the status had come.
            self._answer()
        else:
            self._fail(f"closed by the vendor{f': {exc}' if exc else ''}")

    def data_received(self, data: bytes) -> None:
        if self._waiting is None:
            # Nobody asked: a timeout's 408, as some servers send before they close.
            self.close()
            return
        if not self._first:
            self._first = data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._give_up(f"no HTTP: {type(error).__name__}")

    # What follows is called by the parser.

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:
            self._status = status

    def on_message_complete(self) -> None:
        if not self._status:
            return  # a 1xx; the answer follows
        if not self._parser.should_keep_alive():
            self._drop()
        self._answer()

    def _answer(self) -> None:
        waiting = self._nobody_waits()
        if waiting is not None:
            # Made as a tuple of the class: calling the class costs twice as much.
            waiting.set_result(tuple.__new__(VendorAnswer, (self._status, self._first)))

    def _give_up(self, reason: str) -> None:
        self._drop()
        if self._status:
            self._answer()
        else:
            self._fail(reason)

    def _drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _fail(self, reason: str) -> None:
        waiting = self._nobody_waits()
        if waiting is not None:
            waiting.set_exception(UnansweredError(reason))

    def _nobody_waits(self) -> asyncio.Future[VendorAnswer] | None:
        """From now on; gives who did, if they still do."""
        waiting, self._waiting = self._waiting, None
        self._idle_since = self._clock()
        return waiting if waiting is not None and not waiting.done() else None


async def connect(
    to: Upstream,
    tls: ssl.SSLContext | None,
    timeout: float,  # noqa: ASYNC109 -- of the connecting alone
    clock: Callable[[], float],
) -> Connection:
    """Raises NotSentError; UntrustedError where the certificate does not verify."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            _, connection = await loop.create_connection(
                lambda: Connection(clock), to.host, to.port, ssl=tls, server_hostname=to.host if tls else None
            )
    except ssl.SSLCertVerificationError as error:
        raise UntrustedError(f"certificate: {error.verify_message}") from error
    except (OSError, TimeoutError) as error:
        raise NotSentError(f"{type(error).__name__}: {error}") from error
    return connection
