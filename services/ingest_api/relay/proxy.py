"""The vendor's own routes: passed on as they are, streaming both ways, to that vendor and nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import aiohttp
import structlog
from multidict import CIMultiDict
from yarl import URL

from services.ingest_api.replies import Message, Receive, Reply, Scope, Send, send_reply
from shared.telemetry import RelayMetrics, exception_fields

from .upstream import Upstream, end_to_end, request_headers, target

log = structlog.get_logger()

_TUNNELS = frozenset({"CONNECT", "TRACE"})
_OWN_RESPONSE_HEADERS = frozenset({b"date"})
"""Our server says the time itself, and twice would be wrong."""

_ADDED_BY_CLIENT = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_LONGEST_HEADER = 64 * 1024

Refuse = Callable[[Scope, int, str], Reply]
"""An error in the vendor's words: from the request, a status and what is wrong."""


class ProxyLimits(NamedTuple):
    """connections: requests at once. body: bytes of one request. The others are seconds."""

    connections: int
    body: int
    connect_timeout: float
    timeout: float


class _TooLargeError(Exception):
    """The request's body is beyond the limit."""


class _ClientGoneError(Exception):
    """The client closed the connection in the middle of its request."""


class Proxy:
    """All routes of one vendor that Plaudit does not own. Run ``run`` beside the application."""

    def __init__(
        self,
        source: str,
        to: Upstream,
        limits: ProxyLimits,
        metrics: RelayMetrics,
        refuse: Refuse,
        *,
        forwarded_for: bool,
    ) -> None:
        self._source = source
        self._to = to
        self._limits = limits
        self._metrics = metrics
        self._refuse = refuse
        self._forwarded_for = forwarded_for
        self._in_flight = 0
        self._session: aiohttp.ClientSession | None = None
        metrics.proxying.labels(source).set_function(lambda: self._in_flight)

    async def run(self) -> None:
        """Holds the connections; cancel to close them."""
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._limits.connections, ssl=self._to.tls or True),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=self._limits.connect_timeout, sock_read=self._limits.timeout
            ),
            # Everything passes as it is: nothing is unpacked, remembered, added or found in the environment.
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_ADDED_BY_CLIENT,
            trust_env=False,
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
        ) as session:
            self._session = session
            try:
                await asyncio.Event().wait()
            finally:
                self._session = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self._problem(scope)
        if problem is not None:
            await self._answer(scope, send, *problem)
            return
        self._in_flight += 1
        try:
            await self._serve(scope, receive, send)
        finally:
            self._in_flight -= 1

    def _problem(self, scope: Scope) -> tuple[int, str] | None:
        if scope["method"] in _TUNNELS:
            return 405, "Method Not Allowed"
        if any(part in (".", "..") for part in scope["path"].split("/")):
            # Behind a prefix such a path could leave what the operator meant to open.
            return 404, "Not Found"
        if self._session is None or self._in_flight >= self._limits.connections:
            return 503, "Too many requests are on their way to the vendor."
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not length.isdigit() or int(length) > self._limits.body:
            return 413, "The request is larger than is passed on."
        return None

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = _Exchange(scope, receive, send, self._limits.body)
        passing = asyncio.create_task(self._pass(exchange))
        watching = asyncio.create_task(exchange.client_left())
        try:
            await asyncio.wait({passing, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not passing.done():
                self._count("gone")
                return
            await self._conclude(exchange, passing)
        finally:
            for task in (passing, watching):
                task.cancel()
            await asyncio.gather(passing, watching, return_exceptions=True)

    async def _conclude(self, exchange: _Exchange, passing: asyncio.Task[None]) -> None:
        error = passing.exception()
        if error is None:
            self._count(f"{exchange.status // 100}xx")
        elif exchange.failure is _ClientGoneError:
            self._count("gone")
        elif not isinstance(error, aiohttp.ClientError | TimeoutError | OSError | ValueError):
            raise error
        elif exchange.status:
            # The answer has begun: returning without its end makes our server cut the connection, as the vendor did.
            self._count("broken")
            log.warning("proxied_answer_broken", source=self._source, **exception_fields(error))
        else:
            if exchange.failure is _TooLargeError:
                problem = 413, "The request is larger than is passed on."
            elif isinstance(error, TimeoutError):
                problem = 504, "The vendor did not answer in time."
            else:
                problem = 502, "The vendor cannot be reached."
            log.warning("not_proxied", source=self._source, status=problem[0], **exception_fields(error))
            await self._answer(exchange.scope, exchange.send, *problem)

    async def _pass(self, exchange: _Exchange) -> None:
        assert self._session is not None
        scope = exchange.scope
        headers = request_headers(scope, forwarded_for=self._forwarded_for)
        async with self._session.request(
            scope["method"],
            # Already encoded: it goes on exactly as it came.
            URL(self._to.base + target(scope).decode("latin-1"), encoded=True),
            headers=CIMultiDict([(_text(name), _text(value)) for name, value in [*headers, *exchange.length_header]]),
            data=exchange.body() if exchange.has_body else None,
            allow_redirects=False,
        ) as answer:
            kept = [
                (name.lower(), value)
                for name, value in end_to_end(answer.raw_headers)
                if name.lower() not in _OWN_RESPONSE_HEADERS
            ]
            await exchange.begin(answer.status, kept)
            async for chunk in answer.content.iter_any():
                await exchange.send({"type": "http.response.body", "body": chunk, "more_body": True})
            await exchange.send({"type": "http.response.body", "body": b""})

    async def _answer(self, scope: Scope, send: Send, status: int, message: str) -> None:
        self._count(f"{status // 100}xx")
        await send_reply(scope, send, self._refuse(scope, status, message))

    def _count(self, status: str) -> None:
        self._metrics.proxied.labels(self._source, status).inc()


class _Exchange:
    """One request and its answer. ``failure``: why its body ended early, if it did. ``status``: 0 until it began."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        names = {name: value for name, value in scope["headers"] if name in (b"content-length", b"transfer-encoding")}
        self.scope = scope
        self.send = send
        self.status = 0
        self.failure: type[Exception] | None = None
        self.has_body = bool(names) and names != {b"content-length": b"0"}
        self.length_header = [(name, value) for name, value in names.items() if name == b"content-length"]
        self._receive = receive
        self._limit = limit
        self._sent = asyncio.Event()
        if not self.has_body:
            self._sent.set()

    async def body(self) -> AsyncIterator[bytes]:
        """The request's body as it arrives; nothing of it is kept."""
        size, more = 0, True
        try:
            while more:
                message: Message = await self._receive()
                if message["type"] != "http.request":
                    self.failure = _ClientGoneError
                    raise _ClientGoneError
                chunk, more = message.get("body", b""), message.get("more_body", False)
                size += len(chunk)
                if size > self._limit:
                    self.failure = _TooLargeError
                    raise _TooLargeError
                if chunk:
                    yield chunk
        finally:
            if self.failure is None:
                self._sent.set()

    async def client_left(self) -> None:
        """Returns when the client is gone before its answer is complete."""
        await self._sent.wait()
        message: Message = await self._receive()
        while message["type"] != "http.disconnect":
            message = await self._receive()

    async def begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        await self.send({"type": "http.response.start", "status": status, "headers": headers})


def _text(value: bytes) -> str:
    """A header as text that comes out as the same bytes, as long as it is UTF-8."""
    with contextlib.suppress(UnicodeDecodeError):
        return value.decode()
    return value.decode("latin-1")


ProxyFace = Callable[[Scope, Receive, Send], Awaitable[None]]
