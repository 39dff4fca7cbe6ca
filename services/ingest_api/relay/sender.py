"""Sending on: what waits in the queue goes to one vendor over a few connections, each request at most once.

A request is offered again only where the vendor certainly did not take it: no connection, 429, 503. Whatever else goes
wrong after it was sent is a loss that is counted, since a second copy might count twice there.
"""

from __future__ import annotations

import asyncio
import contextlib
import random as random_module
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from services.ingest_api.replies import Header
from shared.tasks import call_off
from shared.telemetry import RelayMetrics

from .breaker import Breaker
from .connection import Connection, NotSentError, UnansweredError, UntrustedError, VendorAnswer, connect
from .queue import Outgoing, RelayQueue, outgoing
from .upstream import HeadWriter, Upstream

log = structlog.get_logger()

_SWEEP = 0.25
_IN_A_TURN = 8
"""Requests begun in one turn of the loop: a door at its limit answers its clients first, and what waits is bounded."""

_OBSERVED = 8
"""Of so many delays one is observed: an observation costs as much as a tenth of the sending."""

_TOO_MANY = 429
_UNAVAILABLE = 503


class SendLimits(NamedTuple):
    """lanes: requests on their way at once. tries: of one request. All others are seconds."""

    lanes: int
    tries: int
    timeout: float
    connect_timeout: float
    idle: float
    retry_base: float
    retry_cap: float
    drain: float


class RelayState(NamedTuple):
    """What there is to tell of one vendor's relay; totals since the process began."""

    queued: int
    queued_bytes: int
    relayed: int
    dropped: int
    open: bool


class Sender:
    """The relay to one vendor. Start ``run`` before the first ``offer``. ``clock``: monotonic seconds."""

    def __init__(
        self,
        source: str,
        to: Upstream,
        limits: SendLimits,
        breaker: Breaker,
        metrics: RelayMetrics,
        *,
        queue_bytes: int,
        queue_age: float,
        clock: Callable[[], float],
        random: random_module.Random,
    ) -> None:
        self.source = source
        self._to = to
        self._write_head = HeadWriter(to)
        self._tls = to.tls
        self._limits = limits
        self._breaker = breaker
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._queue = RelayQueue(queue_bytes, queue_age, on_expired=lambda: self._drop("expired"), on_ready=self._stir)
        self._observe_delay = metrics.delay.labels(source).observe
        self._relayed = self._dropped = self._counted = 0
        self._idle: list[Connection] = []
        self._sending: dict[Connection, Outgoing] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stirred = self._paused = False
        metrics.queued.labels(source).set_function(lambda: self._queue.held)
        metrics.queued_bytes.labels(source).set_function(lambda: self._queue.held_bytes)
        metrics.breaker_open.labels(source).set_function(lambda: self._breaker.open)

    @property
    def state(self) -> RelayState:
        queue = self._queue
        return RelayState(queue.held, queue.held_bytes, self._relayed, self._dropped, self._breaker.open)

    def offer(self, method: str, place: bytes, headers: Sequence[Header], body: bytes) -> None:
        """Takes a request for sending on; never waits. ``place``: path and query as asked for."""
        head = self._write_head(method, place, headers, len(body))
        if not self._queue.offer(outgoing(head, body, self._clock())):
            self._drop("full")

    def unreadable(self) -> None:
        """A request was not offered, since its feedback could not be cut out of it."""
        self._drop("unreadable")

    async def run(self) -> None:
        """Sends for ever; cancel to stop. What waits then has ``drain`` seconds."""
        self._loop = asyncio.get_running_loop()
        self._stir()
        sweeping = asyncio.create_task(self._sweep())
        try:
            await asyncio.shield(sweeping)
        except asyncio.CancelledError:
            await self._drained()
            raise
        finally:
            self._loop = None
            await call_off([sweeping, *self._opening])
            for connection, request in list(self._sending.items()):
                self._settle(request, "closing")
                del self._sending[connection]
                connection.close()
            for connection in self._idle:
                connection.close()
            if self._queue.held:
                self._drop("closing", self._queue.held)
            self._fold()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            for connection in list(self._sending):
                connection.expire()
            self._fold()

    def _fold(self) -> None:
        """Counts of the hot path are plain integers until now."""
        self._metrics.relayed.labels(self.source).inc(self._relayed - self._counted)
        self._counted = self._relayed

    async def _drained(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.drain):
                await self._queue.emptied()

    def _stir(self) -> None:
        """Sends what waits, at the end of this turn of the loop: what is offered meanwhile goes with it."""
        if self._loop is not None and not self._stirred and not self._paused:
            self._stirred = True
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._stirred = False
        now = self._clock()
        for _ in range(_IN_A_TURN):
            if self._loop is None or not self._queue.ready or not self._has_room():
                return
            if pause := self._breaker.wait():
                self._pause(self._loop, pause)
                return
            request = self._queue.take(now)
            if request is None:
                self._breaker.passed()
                return
            connection = self._idle_connection(now)
            if connection is not None:
                self._begin(request, connection, now)
            else:
                opening = self._loop.create_task(self._open_for(request))
                self._opening.add(opening)
                opening.add_done_callback(self._opened)
        self._stir()

    def _has_room(self) -> bool:
        return len(self._sending) + len(self._opening) < self._limits.lanes

    def _pause(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        def over() -> None:
            self._paused = False
            self._stir()

        if not self._paused:
            self._paused = True
            loop.call_later(seconds, over)

    def _idle_connection(self, now: float) -> Connection | None:
        # The one used last is the least likely to have been closed by the vendor.
        while self._idle:
            connection = self._idle.pop()
            if connection.free and connection.used_since(now - self._limits.idle):
                return connection
            connection.close()
        return None

    async def _open_for(self, request: Outgoing) -> None:
        try:
            connection = await connect(self._to, self._tls, self._limits.connect_timeout, self._clock, self._ended)
        except asyncio.CancelledError:
            self._breaker.passed()
            self._settle(request, "closing")
            raise
        except Exception as error:  # noqa: BLE001 -- whatever it is, nothing was sent
            self._not_sent(request, error if isinstance(error, NotSentError) else NotSentError(type(error).__name__))
        else:
            if connection.free:
                self._begin(request, connection, self._clock())
            else:
                self._not_sent(request, NotSentError("closed as soon as it was open"))

    def _not_sent(self, request: Outgoing, error: NotSentError) -> None:
        self._failed(error.reason)
        self._retry_or_drop(request, None, "untrusted" if isinstance(error, UntrustedError) else "unreachable")

    def _opened(self, opening: asyncio.Task[None]) -> None:
        self._opening.discard(opening)
        self._stir()

    def _begin(self, request: Outgoing, connection: Connection, now: float) -> None:
        self._sending[connection] = request
        connection.begin(request.head, request.body, now + self._limits.timeout)

    def _ended(self, connection: Connection, outcome: VendorAnswer | UnansweredError) -> None:
        request = self._sending.pop(connection, None)
        if request is None:
            return
        if isinstance(outcome, UnansweredError):
            self._failed(outcome.reason)
            self._settle(request, "unanswered")
        else:
            self._judge(request, outcome)
        if connection.free:
            self._idle.append(connection)
        self._stir()

    def _judge(self, request: Outgoing, answer: VendorAnswer) -> None:
        status = answer.status
        if status < 300:
            self._breaker.succeeded()
            self._queue.done(request)
            self._relayed += 1
            if not self._relayed % _OBSERVED:
                self._observe_delay(self._clock() - request.since)
        elif status in (_TOO_MANY, _UNAVAILABLE):
            if status == _UNAVAILABLE:
                self._failed("status 503")
            else:
                self._breaker.succeeded()
            self._retry_or_drop(request, answer.retry_after, "refused" if status == _TOO_MANY else "failed")
        elif status >= 500:
            self._failed(f"status {status}")
            self._settle(request, "failed")
        else:
            self._breaker.succeeded()
            log.debug("relay_refused", source=self.source, status=status)
            self._settle(request, "refused")

    def _retry_or_drop(self, request: Outgoing, retry_after: float | None, reason: str) -> None:
        if request.tries + 1 >= self._limits.tries:
            self._settle(request, reason)
            return
        backoff = min(self._limits.retry_cap, self._limits.retry_base * 2 ** min(request.tries, 32))
        pause = backoff * self._random.uniform(0.5, 1.0)
        if retry_after is not None:
            # Not all of them at the same moment.
            pause = min(self._limits.retry_cap, retry_after + self._random.uniform(0, self._limits.retry_base))
        self._metrics.retries.labels(self.source).inc()
        self._queue.again(request, pause)

    def _failed(self, reason: str) -> None:
        was_open = self._breaker.open
        self._breaker.failed()
        if self._breaker.open and not was_open:
            log.warning("relay_breaker_opened", source=self.source, reason=reason)

    def _settle(self, request: Outgoing, reason: str) -> None:
        self._queue.done(request)
        self._drop(reason)

    def _drop(self, reason: str, count: int = 1) -> None:
        self._dropped += count
        self._metrics.dropped.labels(self.source, reason).inc(count)
