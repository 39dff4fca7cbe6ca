"""One keep-alive HTTP/1.1 connection to a vendor, for requests of which only the status of the answer matters.

A general client costs ten times as much a request, which would be most of what the door itself costs: measured, see
docs/relay.md. Parsing is httptools', as on the door's own side.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
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


OnEnd = Callable[["Connection", VendorAnswer | UnansweredError], None]
"""Told once of every request that was begun: what came of it."""


class Connection(asyncio.Protocol):
    """Open it with ``connect``. One request at a time. ``clock``: monotonic seconds."""

    def __init__(self, clock: Callable[[], float], on_end: OnEnd) -> None:
        self._clock = clock
        self._on_end = on_end
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._busy = False
        self._status = 0
        self._first = b""
        self._complete = False
        self._deadline = 0.0
        self._idle_since = clock()

    @property
    def free(self) -> bool:
        """Whether it is open, with nothing on its way."""
        return self._transport is not None and not self._busy

    def used_since(self, since: float) -> bool:
        """By the clock; a vendor closes what is idle for long."""
        return self._idle_since >= since

    def begin(self, head: bytes, body: bytes, deadline: float) -> None:
        """Sends a request, where it is ``free``. ``deadline``: by the clock, when ``expire`` may end it."""
        assert self._transport is not None, "only a free connection takes a request"
        self._busy, self._complete, self._status, self._first = True, False, 0, b""
        self._deadline = deadline
        if len(body) < _COPY_BELOW:
            self._transport.write(head + body)
        else:
            self._transport.writelines([head, body])

    def expire(self) -> None:
        """Ends an exchange that is beyond its deadline. Called now and then: a timer for each would cost more."""
        if self._busy and self._clock() > self._deadline:
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
        if not self._busy:
            # Nobody asked: a timeout's 408, as some servers send before they close.
            self.close()
            return
        if not self._first:
            self._first = data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._give_up(f"no HTTP: {type(error).__name__}")
        if self._complete:
            self._answer()

    # What follows is called by the parser.

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:
            self._status = status

    def on_message_complete(self) -> None:
        if not self._status:
            return  # a 1xx; the answer follows
        if self._complete or not self._parser.should_keep_alive():
            # Of two answers to one request nobody can say what the next one would be an answer to.
            self._drop()
        # Told when all that came was read: whoever hears of it may begin the next request.
        self._complete = True

    def _answer(self) -> None:
        self._end(VendorAnswer(self._status, self._first))

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
        self._end(UnansweredError(reason))

    def _end(self, outcome: VendorAnswer | UnansweredError) -> None:
        if self._busy:
            self._busy, self._complete = False, False
            self._idle_since = self._clock()
            self._on_end(self, outcome)


async def connect(
    to: Upstream,
    tls: ssl.SSLContext | None,
    timeout: float,  # noqa: ASYNC109 -- of the connecting alone
    clock: Callable[[], float],
    on_end: OnEnd,
) -> Connection:
    """Raises NotSentError; UntrustedError where the certificate does not verify."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            _, connection = await loop.create_connection(
                lambda: Connection(clock, on_end), to.host, to.port, ssl=tls, server_hostname=to.host if tls else None
            )
    except ssl.SSLCertVerificationError as error:
        raise UntrustedError(f"certificate: {error.verify_message}") from error
    except (OSError, TimeoutError) as error:
        raise NotSentError(f"{type(error).__name__}: {error}") from error
    return connection
