"""A worker: its reader, its batches and its housekeeping, from start to a clean stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.settings import WorkerSettings
from shared.storage import describe
from shared.streams import ensure_group
from shared.tasks import call_off
from shared.telemetry import exception_fields

from .batcher import Batch, Batcher
from .circuit import Circuit
from .delivery import Delivery
from .drain_rate import DrainRate
from .entries import Entry, Holdings
from .recovery import Claimed, Membership, Recovery
from .spans import WorkerSpans
from .suspects import Suspects

if TYPE_CHECKING:
    from shared.telemetry import WorkerMetrics

log = structlog.get_logger()

_RETRY_START = 0.5
_REAP_EVERY = 300.0
_FIRST: Mapping[bytes, int] = {}
"""Of what was not handed out before nothing need be told."""


class Worker:
    """Owns what has been read until it is settled. ``take`` is fed by FastStream, the rest runs in ``running``."""

    def __init__(
        self,
        redis: Redis,
        member: Membership,
        settings: WorkerSettings,
        metrics: WorkerMetrics,
        *,
        batcher: Batcher,
        delivery: Delivery,
        recovery: Recovery,
        holdings: Holdings,
        suspects: Suspects,
        circuit: Circuit,
        rate: DrainRate,
        spans: WorkerSpans,
    ) -> None:
        self._spans = spans
        self._rate = rate
        self._redis = redis
        self._member = member
        self._settings = settings
        self._metrics = metrics
        self._batcher = batcher
        self._delivery = delivery
        self._recovery = recovery
        self._holdings = holdings
        self._suspects = suspects
        self._circuit = circuit
        self._unfinished: set[asyncio.Task[None]] = set()

    async def take(self, entries: list[Entry]) -> None:
        """What a read brought. Returns when all of it is in a batch; that pauses reading while batches are full."""
        self._metrics.entries.inc(len(entries))
        await self._add(self._holdings.take(entries))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While inside, batches fly and housekeeping is done. On leaving, reading must have stopped: everything in
        hand is inserted and settled, or left pending after the drain timeout.
        """
        housekeeping = [asyncio.create_task(duty) for duty in self._duties()]
        launching = asyncio.create_task(self._batcher.run())
        try:
            yield
        finally:
            await call_off(housekeeping)
            try:
                async with asyncio.timeout(self._settings.worker_drain_timeout):
                    await self._drain()
            except TimeoutError:
                log.warning("drain_timeout", entries_left_pending=len(self._holdings))
            # What hangs is let go, or it would keep the process from ending.
            await call_off([launching, *self._unfinished])
            await self._batcher.abandon()

    async def join(self) -> None:
        """Waits for Redis and makes the groups. Comes before ``running``, and before anything reads."""
        while True:
            try:
                await self._make_groups()
            except (RedisError, OSError) as error:
                log.warning("redis_not_reached", retry_in=_RETRY_START, reason=describe(error))
                await asyncio.sleep(_RETRY_START)
            else:
                return

    async def _make_groups(self) -> None:
        for stream in self._member.streams:
            await ensure_group(self._redis, stream, self._member.group)

    def _duties(self) -> list[Coroutine[Any, Any, None]]:
        idle = self._settings.worker_claim_idle
        return [
            self._every(idle / 6, self._recover),
            self._every(idle / 6, self._renew),
            self._every(1.0, self._rate.tell),
            self._every(min(_REAP_EVERY, self._settings.worker_consumer_ttl), self._reap),
        ]

    async def _every(self, seconds: float, duty: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await duty()
            except (RedisError, OSError) as error:
                log.warning("duty_failed", duty=duty.__name__, reason=describe(error))
                if "NOGROUP" in str(error):
                    # The reader makes it again too, but not while it waits for room in a batch.
                    with suppress(RedisError, OSError):
                        await self._make_groups()
            except Exception as error:  # noqa: BLE001 -- a duty that ends unseen is worse than one that fails again
                log.error("duty_failed", duty=duty.__name__, **exception_fields(error))
            await asyncio.sleep(seconds)

    async def _recover(self) -> int:
        return await self._recovery.claim(self._take_claimed)

    async def _renew(self) -> int:
        return await self._recovery.renew(forgive=self._circuit.fault is not None)

    async def _reap(self) -> int:
        return await self._recovery.reap(self._settings.worker_consumer_ttl)

    async def _take_claimed(self, claimed: list[Claimed]) -> None:
        limit = self._settings.worker_max_deliveries
        self._metrics.entries.inc(len(claimed))
        suspects = [item for item in claimed if item.deliveries > limit]
        try:
            deliveries = {item.entry.entry_id: item.deliveries for item in claimed}
            await self._add([item.entry for item in claimed if item.deliveries <= limit], deliveries)
            while suspects:
                await self._try_alone(suspects[-1])
                suspects.pop()
        except Exception:
            self._holdings.release(item.entry for item in suspects)
            raise

    async def _try_alone(self, item: Claimed) -> None:
        """A suspect is tried alone, and only while ClickHouse is there: its absence is nobody's fault."""
        entry = item.entry
        if self._circuit.fault is not None:
            self._holdings.release([entry])
            return
        convicted = await self._suspects.convicted(entry)
        self._spans.taken([entry], {entry.entry_id: item.deliveries})
        if convicted:
            reason = f"killed the worker that held it alone, {item.deliveries} deliveries in all"
            # Where there is no room for its letter it stays convicted: else it would kill again and again.
            if await self._delivery.give_up(entry, reason):
                await self._suspects.cleared(entry)
            return
        log.warning("entry_tried_alone", entry=entry.entry_id.decode(), deliveries=item.deliveries)
        trouble = asyncio.create_task(self._circuit.wait_opened())
        attempt = self._to_the_end(self._delivery.deliver(Batch(entries=[entry])))
        try:
            await asyncio.wait({trouble, attempt}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            trouble.cancel()
            await self._suspects.cleared(entry)
        try:
            await asyncio.shield(attempt)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it comes from this entry and came every time
            await self._delivery.give_up(entry, f"the worker fails on it: {type(error).__name__}")

    async def _add(self, entries: list[Entry], deliveries: Mapping[bytes, int] = _FIRST) -> None:
        """Adds to the batch even if the caller is cancelled half-way: what is in hand must reach a batch.

        ``deliveries``: of what was claimed, how often it was handed out.
        """
        if entries:
            self._spans.taken(entries, deliveries)
            await asyncio.shield(self._to_the_end(self._batcher.add(entries)))

    def _to_the_end(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that outlives its caller's cancellation; the drain waits for it."""
        task = asyncio.create_task(work)
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        return task

    async def _drain(self) -> None:
        if self._unfinished:
            await asyncio.wait(self._unfinished)
        try:
            async for entries in self._recovery.own_pending():
                await self._add(entries)
        except (RedisError, OSError) as error:
            # What is in hand is inserted all the same: of a flushed Redis it may be the only copy.
            log.warning("own_pending_not_read", reason=describe(error))
        await self._batcher.drain()
        try:
            await self._rate.forget()
            await self._recovery.leave()
        except (RedisError, OSError) as error:
            log.warning("group_not_left", reason=describe(error))
        log.info("drained")
