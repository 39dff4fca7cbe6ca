"""Batches build up across reads, until they are full or old enough.

A read returns as soon as one entry is there, so a read is no batch: under a trickle it would be a row an insert.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import structlog

from shared.tasks import call_off
from shared.telemetry import exception_fields

from .entries import Entry

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What completes a batch, whichever comes first: events, bytes of stream entries, seconds since the first."""

    rows: int
    bytes: int
    age: float


@dataclass(slots=True)
class Batch:
    """Entries that will be inserted together. ``since`` is when the first came, in monotonic seconds."""

    since: float = 0.0
    entries: list[Entry] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0


FlushBatch = Callable[[Batch], Awaitable[None]]


class Batcher:
    """Collects entries and hands batches to ``flush``, at most ``in_flight`` of them at a time.

    ``add`` waits while the batch that builds up is full and no flight is free: that is what pauses reading, and what
    bounds memory to (in_flight + 1) batches and the read at hand. An old batch that finds no free flight goes on
    building up, so that a slow ClickHouse is given fewer and larger inserts.

    ``flush`` owns its batch to the end; what it raises is logged, and the entries stay pending in the log.
    """

    def __init__(
        self,
        flush: FlushBatch,
        limits: BatchLimits,
        *,
        in_flight: int,
        clock: Callable[[], float],
    ) -> None:
        self._flush = flush
        self._limits = limits
        self._clock = clock
        self._slots = asyncio.Semaphore(in_flight)
        self._flights: set[asyncio.Task[None]] = set()
        self._current = Batch()
        self._changed = asyncio.Condition()
        self._closing = False

    @property
    def flights(self) -> int:
        """Batches on their way into ClickHouse."""
        return len(self._flights)

    async def add(self, entries: Iterable[Entry]) -> None:
        """Returns when all of them are in a batch, not when they are inserted."""
        async with self._changed:
            batch, full = self._current, self._full()
            for entry in entries:
                if full:
                    await self._changed.wait_for(lambda: not self._full())
                    batch = self._current
                if not batch.entries:
                    batch.since = self._clock()
                    self._changed.notify_all()
                batch.entries.append(entry)
                batch.rows += entry.rows
                batch.bytes += entry.size
                full = self._full()
                if full:
                    self._changed.notify_all()

    async def run(self) -> None:
        """Launches batches until ``drain`` has been called and the last one is on its way."""
        while await self._wait_until_due():
            await self._slots.acquire()
            async with self._changed:
                self._launch()
                self._changed.notify_all()

    def _launch(self) -> None:
        # Apart from ``run``, which would hold on to its last batch until the next one is due.
        batch, self._current = self._current, Batch()
        flight = asyncio.create_task(self._fly(batch))
        self._flights.add(flight)
        flight.add_done_callback(self._landed)

    async def drain(self) -> None:
        """Sends what is left on its way and waits until everything has landed. ``add`` must have stopped."""
        async with self._changed:
            self._closing = True
            self._changed.notify_all()
            await self._changed.wait_for(lambda: not self._current.entries)
        while self._flights:
            await asyncio.wait(self._flights)

    async def abandon(self) -> None:
        """Lets go of what is still on its way: its entries stay pending in the log. ``run`` must have ended."""
        await call_off(self._flights)

    def _full(self) -> bool:
        return self._current.rows >= self._limits.rows or self._current.bytes >= self._limits.bytes

    async def _wait_until_due(self) -> bool:
        """True when the current batch should go; False when closing and nothing is left."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._current.entries or self._closing)
            if not self._current.entries:
                return False
            remaining = self._current.since + self._limits.age - self._clock()
            if remaining > 0 and not self._full() and not self._closing:
                try:
                    async with asyncio.timeout(remaining):
                        await self._changed.wait_for(lambda: self._full() or self._closing)
                except TimeoutError:
                    pass
            return True

    async def _fly(self, batch: Batch) -> None:
        try:
            await self._flush(batch)
        except Exception as error:  # noqa: BLE001 -- the entries stay pending, the next batch goes on
            # Where, not the whole trace: a trace quotes what people wrote.
            where = traceback.extract_tb(error.__traceback__)[-1]
            log.error(
                "batch_failed",
                entries=len(batch.entries),
                at=f"{where.filename}:{where.lineno}",
                **exception_fields(error),
            )

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        self._slots.release()
