"""Sending on: lanes that take requests from the queue and bring them to one vendor, each at most once.

A request is offered again only where the vendor certainly did not take it: no connection, 429, 503. Whatever else goes
wrong after it was sent is a loss that is counted, since a second copy might count twice there.
"""

from __future__ import annotations

import asyncio
import contextlib
import random as random_module
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import structlog

from services.ingest_api.replies import Header
from shared.telemetry import RelayMetrics

from .breaker import Breaker
from .connection import Connection, NotSentError, UnansweredError, UntrustedError, VendorAnswer, connect
from .queue import Outgoing, RelayQueue, outgoing
from .upstream import HeadWriter, Upstream

log = structlog.get_logger()

_SWEEP = 0.25
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
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
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
        self._sleep = sleep
        self._queue = RelayQueue(queue_bytes, queue_age, clock=clock, on_expired=lambda: self._drop("expired"))
        self._observe_delay = metrics.delay.labels(source).observe
        self._relayed = self._dropped = self._counted = 0
        self._connections: set[Connection] = set()
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
        lanes = [asyncio.create_task(self._lane()) for _ in range(self._limits.lanes)]
        lanes.append(asyncio.create_task(self._sweep()))
        try:
            done, _ = await asyncio.wait(lanes, return_when=asyncio.FIRST_COMPLETED)
            for lane in done:
                lane.result()
        except asyncio.CancelledError:
            await self._drained()
            raise
        finally:
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)
            if self._queue.held:
                self._drop("closing", self._queue.held)
            self._fold()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            for connection in list(self._connections):
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

    async def _lane(self) -> None:
        connection: Connection | None = None
        try:
            while True:
                request = await self._queue.take()
                waited = False
                while pause := self._breaker.wait():
                    await self._sleep(pause)
                    waited = True
                if waited and self._queue.expired(request):
                    self._breaker.passed()
                    self._settle(request, "expired")
                    continue
                connection = await self._send(request, connection)
        finally:
            if connection is not None:
                self._close(connection)

    async def _send(self, request: Outgoing, connection: Connection | None) -> Connection | None:
        """One try. Gives the connection for the next."""
        limits = self._limits
        try:
            if connection is None or not connection.usable(limits.idle):
                if connection is not None:
                    self._close(connection)
                connection = None
                connection = await connect(self._to, self._tls, limits.connect_timeout, self._clock)
                self._connections.add(connection)
            answer = await connection.exchange(request.head, request.body, self._clock() + limits.timeout)
        except NotSentError as error:
            self._failed(error.reason)
            self._retry_or_drop(request, None, "untrusted" if isinstance(error, UntrustedError) else "unreachable")
        except UnansweredError as error:
            self._failed(error.reason)
            self._settle(request, "unanswered")
        except asyncio.CancelledError:
            self._breaker.passed()
            self._settle(request, "closing")
            raise
        else:
            self._judge(request, answer)
        return connection

    def _close(self, connection: Connection) -> None:
        self._connections.discard(connection)
        connection.close()

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
