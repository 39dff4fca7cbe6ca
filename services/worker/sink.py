"""Inserting events into ClickHouse: one attempt (``EventSink``), and as many as it takes (``PersistentWriter``)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import structlog
from clickhouse_connect.driver.exceptions import ClickHouseError

from shared.errors import StoreUnavailableError
from shared.events import COLUMNS, FeedbackEvent
from shared.storage import COLUMN_TYPES, EVENTS_TABLE, INSERT_SETTINGS, connect, describe, known_settings

from .faults import Fault, fault_of

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from shared.settings import ClickHouseSettings
    from shared.telemetry import WorkerMetrics

log = structlog.get_logger()

InsertOnce = Callable[[Sequence[FeedbackEvent]], None]
"""One attempt; blocking; returns when the rows are in the table. Raises whatever went wrong."""


class EventSink:
    """Inserts in one block a call, by columns. Callable from several threads: each call has its own client.

    ``table_uuid`` is that of the table as of the last half minute, None until it is known: after a restore or an
    exchange of tables it is another one. ``clock``: monotonic seconds.
    """

    UUID_TRUSTED_FOR = 30.0

    def __init__(self, settings: ClickHouseSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._idle: SimpleQueue[Client] = SimpleQueue()
        self._uuid_as_of = float("-inf")
        self.table_uuid: str | None = None

    def insert(self, events: Sequence[FeedbackEvent]) -> None:
        """One attempt. Raises what the client raises, or StoreUnavailableError."""
        client = self._client()
        try:
            self._identify_table(client)
            client.insert(
                EVENTS_TABLE,
                list(zip(*events, strict=True)),
                column_names=COLUMNS,
                column_type_names=list(COLUMN_TYPES.values()),
                column_oriented=True,
                settings=known_settings(client, INSERT_SETTINGS),
            )
        except BaseException:
            self._uuid_as_of = float("-inf")
            client.close()
            raise
        self._idle.put(client)

    def close(self) -> None:
        while True:
            try:
                self._idle.get_nowait().close()
            except Empty:
                return

    def _identify_table(self, client: Client) -> None:
        if self._clock() - self._uuid_as_of < self.UUID_TRUSTED_FOR:
            return
        rows = client.query(
            "SELECT toString(uuid) FROM system.tables WHERE database = currentDatabase() AND name = {name:String}",
            {"name": EVENTS_TABLE},
        ).result_rows
        self.table_uuid = rows[0][0] if rows else None
        self._uuid_as_of = self._clock()

    def _client(self) -> Client:
        try:
            return self._idle.get_nowait()
        except Empty:
            return connect(self._settings)


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that was refused when it was inserted alone."""

    event: FeedbackEvent
    reason: str


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential, with full jitter (seconds), so that many workers do not return at one moment."""

    base: float
    cap: float
    random: random.Random

    def delay(self, attempt: int) -> float:
        """Attempts count from 1."""
        return self.random.uniform(0, min(self.cap, self.base * 2 ** min(attempt - 1, 32)))


class PersistentWriter:
    """Gets events into the table for as long as it takes. Only a row that failed alone comes back.

    ``on_trouble`` is told of every failed attempt and, with None, of the next success: the circuit that alarms.
    """

    TRIES_BEFORE_HALVING = 3

    def __init__(
        self,
        insert: InsertOnce,
        backoff: Backoff,
        metrics: WorkerMetrics,
        *,
        on_trouble: Callable[[Fault | None], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float],
    ) -> None:
        self._insert = insert
        self._backoff = backoff
        self._metrics = metrics
        self._on_trouble = on_trouble
        self._sleep = sleep
        self._clock = clock

    async def write(self, events: Sequence[FeedbackEvent]) -> list[Refused]:
        """Returns when every event is in the table or was refused alone."""
        refused: list[Refused] = []
        todo = [events] if events else []
        attempt = 0
        while todo:
            chunk = todo.pop()
            started = self._clock()
            try:
                await asyncio.to_thread(self._insert, chunk)
            except (ClickHouseError, StoreUnavailableError, OSError, ValueError, TypeError, ArithmeticError) as error:
                attempt += 1
                todo += await self._after(error, chunk, attempt, refused)
                continue
            attempt = 0
            self._on_trouble(None)
            self._metrics.inserts.labels("ok").inc()
            self._metrics.insert_rows.observe(len(chunk))
            self._metrics.insert_seconds.observe(self._clock() - started)
        return refused

    async def _after(
        self, error: Exception, chunk: Sequence[FeedbackEvent], attempt: int, refused: list[Refused]
    ) -> list[Sequence[FeedbackEvent]]:
        """What to insert next in place of ``chunk``."""
        fault = fault_of(error)
        self._metrics.inserts.labels(fault).inc()
        if fault is Fault.ROW:
            if len(chunk) == 1:
                refused.append(Refused(chunk[0], describe(error)))
                return []
            return _halves(chunk)
        self._on_trouble(fault)
        delay = self._backoff.delay(attempt)
        report = log.warning if fault in (Fault.SERVER, Fault.SIZE) else log.error
        report("insert_failed", fault=fault, rows=len(chunk), attempt=attempt, retry_in=delay, reason=describe(error))
        await self._sleep(delay)
        if fault is Fault.SIZE and attempt >= self.TRIES_BEFORE_HALVING and len(chunk) > 1:
            return _halves(chunk)
        return [chunk]


def _halves(chunk: Sequence[FeedbackEvent]) -> list[Sequence[FeedbackEvent]]:
    middle = len(chunk) // 2
    return [chunk[:middle], chunk[middle:]]
