"""Inserting events into ClickHouse: one attempt (``EventSink``), and as many as it takes (``PersistentWriter``)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

import structlog
from clickhouse_connect.driver import options
from clickhouse_connect.driver.exceptions import ClickHouseError, DataError

from shared.erasures import Tombstones
from shared.errors import StoreUnavailableError
from shared.events import COLUMNS, FeedbackEvent
from shared.storage import COLUMN_TYPES, EVENTS_TABLE, INSERT_SETTINGS, connect, describe, known_settings
from shared.tasks import in_thread_of_its_own

from .faults import EncodingError, Fault, fault_of, loggable

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from shared.settings import ClickHouseSettings
    from shared.telemetry import WorkerMetrics

log = structlog.get_logger()

InsertOnce = Callable[[Sequence[FeedbackEvent]], None]
"""One attempt; blocking; returns when the rows are in the table. Raises whatever went wrong."""


class EventSink:
    """Inserts in one block a call, by columns. Callable from several threads: each call has its own client.

    ``clock``: monotonic seconds.
    """

    UUID_TRUSTED_FOR = 30.0

    def __init__(self, settings: ClickHouseSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._idle: SimpleQueue[Client] = SimpleQueue()
        self._uuid_as_of = float("-inf")
        self._tombstones = Tombstones(clock)
        self._table_uuid: str | None = None

    @property
    def table_uuid(self) -> str | None:
        """That of the table as of the last minute; None where that is not known, since nothing was inserted lately or
        the last insert failed. After a restore or an exchange of tables it is another one.
        """
        known = self._clock() - self._uuid_as_of < 2 * self.UUID_TRUSTED_FOR
        return self._table_uuid if known else None

    def insert(self, events: Sequence[FeedbackEvent]) -> None:
        """One attempt. Raises StoreUnavailableError, EncodingError or what the client raises."""
        client = self._client()
        try:
            self._identify_table(client)
            # Asked at every attempt, not once a batch: one that waited out an outage may hold what is erased by now.
            with _said_by_the_server():
                self._tombstones.refresh(client)
            if surviving := self._tombstones.surviving(events):
                _insert_block(client, surviving)
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
        query = "SELECT toString(uuid) FROM system.tables WHERE database = currentDatabase() AND name = {name:String}"
        with _said_by_the_server():
            rows = client.query(query, {"name": EVENTS_TABLE}).result_rows
        self._table_uuid = rows[0][0] if rows else None
        self._uuid_as_of = self._clock()

    def _client(self) -> Client:
        try:
            return self._idle.get_nowait()
        except Empty:
            with _said_by_the_server():
                return connect(self._settings)


def spare_pandas() -> None:
    """Where pandas is installed, the client would import it at the first insert, only to ask whether the rows are a
    DataFrame: a second of that insert's time, and 70 MiB for good.
    """
    for name in ("pd", "pd_time_test"):
        setattr(options, name, None)


@contextmanager
def _said_by_the_server() -> Iterator[None]:
    """What answers in place of ClickHouse (a proxy's maintenance page, with status 200) makes the client raise
    anything. It must not be taken for a row's fault.
    """
    try:
        yield
    except (ClickHouseError, StoreUnavailableError, OSError, MemoryError):
        raise
    except Exception as error:
        raise StoreUnavailableError("clickhouse", f"no answer of ClickHouse: {type(error).__name__}") from error


def _insert_block(client: Client, events: Sequence[FeedbackEvent]) -> None:
    context = client.create_insert_context(
        EVENTS_TABLE,
        COLUMNS,
        column_type_names=list(COLUMN_TYPES.values()),
        column_oriented=True,
        settings=known_settings(client, INSERT_SETTINGS),
    )
    try:
        summary = client.insert(data=list(zip(*events, strict=True)), context=context)
    except (ClickHouseError, OSError, MemoryError) as error:
        # The client encodes while it sends: of a row that it cannot encode, the server sees a broken request, or the
        # connection breaks. The context knows better.
        if context.insert_exception or (isinstance(error, DataError) and error.code is None):
            raise EncodingError(describe(context.insert_exception or error)) from error
        raise
    except Exception as error:
        raise EncodingError(describe(error)) from error
    finally:
        problem = context.insert_exception
        # It refers to itself, and would keep the whole batch until the garbage collector looks at old objects.
        vars(context).clear()
    if problem:
        raise EncodingError(describe(problem)) from problem
    if not summary.query_id():
        raise StoreUnavailableError("clickhouse", "something else answered in its place: the reply has no query id")


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


class _Chunk(NamedTuple):
    events: Sequence[FeedbackEvent]
    tries: int = 0

    def halves(self) -> list[_Chunk]:
        middle = len(self.events) // 2
        return [_Chunk(self.events[:middle]), _Chunk(self.events[middle:])]


class PersistentWriter:
    """Gets events into the table for as long as it takes. Only a row that failed alone comes back.

    ``on_trouble`` is told of every failed attempt and, with None, of the next success: the circuit that alarms. Its
    first argument tells apart what is written at the same time.
    """

    TRIES_BEFORE_HALVING = 3

    def __init__(
        self,
        insert: InsertOnce,
        backoff: Backoff,
        metrics: WorkerMetrics,
        *,
        on_trouble: Callable[[object, Fault | None], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float],
    ) -> None:
        self._insert = insert
        self._backoff = backoff
        self._metrics = metrics
        self._on_trouble = on_trouble
        self._sleep = sleep
        self._clock = clock

    async def write(
        self, events: Sequence[FeedbackEvent], on_failure: Callable[[Fault, int], None] | None = None
    ) -> list[Refused]:
        """Returns when every event is in the table or was refused alone. ``on_failure`` is told of each attempt that
        failed: why, and the how manyth it was for these rows.
        """
        refused: list[Refused] = []
        todo = [_Chunk(events)] if events else []
        this_write = object()
        try:
            while todo:
                chunk = todo.pop()
                started = self._clock()
                try:
                    await in_thread_of_its_own(self._insert, chunk.events)
                except Exception as error:  # noqa: BLE001 -- whatever it is, the rows are not in the table yet
                    if on_failure is not None:
                        on_failure(fault_of(error), chunk.tries + 1)
                    todo += await self._after(error, chunk, refused, this_write)
                    continue
                self._on_trouble(this_write, None)
                self._metrics.inserts.labels("ok").inc()
                self._metrics.insert_rows.observe(len(chunk.events))
                self._metrics.insert_seconds.observe(self._clock() - started)
        finally:
            self._on_trouble(this_write, None)
        return refused

    async def _after(self, error: Exception, chunk: _Chunk, refused: list[Refused], this_write: object) -> list[_Chunk]:
        """What to insert next in place of ``chunk``."""
        fault = fault_of(error)
        self._metrics.inserts.labels(fault).inc()
        if fault is Fault.ROW:
            if len(chunk.events) > 1:
                return chunk.halves()
            refused.append(Refused(chunk.events[0], describe(error)))
            return []
        self._on_trouble(this_write, fault)
        tries = chunk.tries + 1
        delay = self._backoff.delay(tries)
        report = log.warning if fault in (Fault.SERVER, Fault.SIZE) else log.error
        report(
            "insert_failed",
            fault=fault,
            rows=len(chunk.events),
            tries=tries,
            retry_in=round(delay, 3),
            reason=loggable(error),
        )
        await self._sleep(delay)
        if fault is Fault.SIZE and tries >= self.TRIES_BEFORE_HALVING and len(chunk.events) > 1:
            return chunk.halves()
        return [_Chunk(chunk.events, tries)]
