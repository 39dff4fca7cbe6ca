"""A worker: its reader, its batches and its housekeeping, from start to a clean stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.dead_letters import DeadLetterBox
from shared.errors import StoreUnavailableError
from shared.settings import WorkerSettings
from shared.storage import describe
from shared.streams import ensure_group, settle

from .batcher import Batch, Batcher
from .circuit import Circuit
from .delivery import Delivery, undeliverable
from .entries import Entry, Holdings
from .recovery import Claimed, Membership, Recovery
from .suspects import Suspects

if TYPE_CHECKING:
    from shared.telemetry import WorkerMetrics

log = structlog.get_logger()

_RETRY_START = 0.5
_REAP_EVERY = 300.0


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
        dead_letters: DeadLetterBox,
        circuit: Circuit,
    ) -> None:
        self._redis = redis
        self._member = member
        self._settings = settings
        self._metrics = metrics
        self._batcher = batcher
        self._delivery = delivery
        self._recovery = recovery
        self._holdings = holdings
        self._suspects = suspects
        self._dead_letters = dead_letters
        self._circuit = circuit
        self._adding: set[asyncio.Task[None]] = set()

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
            for task in housekeeping:
                task.cancel()
            await asyncio.gather(*housekeeping, return_exceptions=True)
            try:
                async with asyncio.timeout(self._settings.worker_drain_timeout):
                    await self._drain()
            except TimeoutError:
                log.warning("drain_timeout", entries_left_pending=len(self._holdings))
            except (RedisError, OSError) as error:
                log.warning("drain_incomplete", entries_left_pending=len(self._holdings), reason=describe(error))
            launching.cancel()
            await asyncio.gather(launching, return_exceptions=True)

    async def join(self) -> None:
        """Waits for Redis and makes the groups. Comes before ``running``, and before anything reads."""
        while True:
            try:
                for stream in self._member.streams:
                    await ensure_group(self._redis, stream, self._member.group)
            except (RedisError, OSError) as error:
                log.warning("redis_not_reached", retry_in=_RETRY_START, reason=describe(error))
                await asyncio.sleep(_RETRY_START)
            else:
                return

    def _duties(self) -> list[Coroutine[Any, Any, None]]:
        idle = self._settings.worker_claim_idle
        return [
            self._every(idle / 6, self._recover),
            self._every(idle / 6, self._recovery.renew),
            self._every(min(_REAP_EVERY, self._settings.worker_consumer_ttl), self._reap),
        ]

    async def _every(self, seconds: float, duty: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await duty()
            except (RedisError, OSError) as error:
                # A flushed group is made again by the reader; an absent server is waited for.
                log.warning("duty_failed", duty=duty.__name__, reason=describe(error))
            await asyncio.sleep(seconds)

    async def _recover(self) -> int:
        return await self._recovery.claim(self._take_claimed)

    async def _reap(self) -> int:
        return await self._recovery.reap(self._settings.worker_consumer_ttl)

    async def _take_claimed(self, claimed: list[Claimed]) -> None:
        limit = self._settings.worker_max_deliveries
        self._metrics.entries.inc(len(claimed))
        await self._add([item.entry for item in claimed if item.deliveries <= limit])
        for item in claimed:
            if item.deliveries > limit:
                await self._try_alone(item)

    async def _try_alone(self, item: Claimed) -> None:
        """A suspect is tried alone, and only while ClickHouse is there: its absence is nobody's fault."""
        entry = item.entry
        await self._circuit.wait_closed()
        if await self._suspects.convicted(entry):
            await self._condemn(item)
            return
        log.warning("entry_tried_alone", entry=entry.entry_id.decode(), deliveries=item.deliveries)
        trouble = asyncio.create_task(self._circuit.wait_opened())
        attempt = asyncio.create_task(self._delivery.deliver(Batch(entries=[entry])))
        await asyncio.wait({trouble, attempt}, return_when=asyncio.FIRST_COMPLETED)
        trouble.cancel()
        await self._suspects.cleared(entry)
        await attempt

    async def _condemn(self, item: Claimed) -> None:
        entry = item.entry
        reason = f"killed the worker that held it alone, {item.deliveries} deliveries in all"
        try:
            await self._dead_letters.put(undeliverable(entry, reason, self._delivery.now()))
        except StoreUnavailableError as error:
            log.error("dead_letters_not_kept", entry=entry.entry_id.decode(), reason=error.reason)
        else:
            await settle(self._redis, entry.stream, self._member.group, [entry.entry_id])
            await self._suspects.cleared(entry)
        finally:
            self._holdings.release([entry])

    async def _add(self, entries: list[Entry]) -> None:
        """Adds to the batch even if the caller is cancelled half-way: what is in hand must reach a batch."""
        if not entries:
            return
        adding = asyncio.create_task(self._batcher.add(entries))
        self._adding.add(adding)
        adding.add_done_callback(self._adding.discard)
        await asyncio.shield(adding)

    async def _drain(self) -> None:
        if self._adding:
            await asyncio.wait(self._adding)
        await self._add(await self._recovery.own_pending())
        await self._batcher.drain()
        await self._recovery.leave()
        log.info("drained")
