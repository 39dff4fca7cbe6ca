"""Inserting what was learnt of traces: two small tables, written beside the events of the same batch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from shared.erasures import Tombstones
from shared.storage import INSERT_SETTINGS, connect, known_settings
from shared.tasks import in_thread_of_its_own
from shared.traces import TraceRecord

from .faults import Fault, fault_of, loggable
from .sink import Backoff

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from shared.settings import ClickHouseSettings

log = structlog.get_logger()

_TEXT = "String"
_TIME = "DateTime64(6, 'UTC')"
_ATTRIBUTES = {
    "project_id": "LowCardinality(String)",
    "source": "LowCardinality(String)",
    "trace_id": _TEXT,
    "parent_id": _TEXT,
    "name": _TEXT,
    "model": _TEXT,
    "prompt": _TEXT,
    "version": _TEXT,
    "user_id": _TEXT,
    "thread_id": _TEXT,
    "tags": "Array(String)",
    "metadata": "Map(String, String)",
    "learnt_at": _TIME,
}
_ALIASES = {
    "project_id": "LowCardinality(String)",
    "source": "LowCardinality(String)",
    "alias": _TEXT,
    "trace_id": _TEXT,
    "learnt_at": _TIME,
}


class LearntTrace(NamedTuple):
    """A record with its project and the receipt of its envelope, in microseconds since 1970."""

    project_id: str
    record: TraceRecord
    received_at: int

    @property
    def trace_id(self) -> str:
        """The id that the rest of the world knows, so that erasing a trace finds its aliases."""
        return self.record.alias_of or self.record.trace_id

    @property
    def user_id(self) -> str:
        """Empty if nobody was told."""
        return self.record.user_id


class TraceSink:
    """One attempt; blocking; one call at a time a client. Raises whatever went wrong."""

    def __init__(self, settings: ClickHouseSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._tombstones = Tombstones(clock)

    def insert(self, learnt: Sequence[LearntTrace]) -> None:
        """Both tables come to the same by any number of repetitions, so half of an attempt does no harm."""
        client = connect(self._settings)
        try:
            self._tombstones.refresh(client)
            surviving = self._tombstones.surviving(learnt)
            attributes = [_attributes(one) for one in surviving if one.record.tells or one.record.parent_id]
            aliases = [
                (one.project_id, one.record.source, one.record.trace_id, one.record.alias_of, one.received_at)
                for one in surviving
                if one.record.alias_of
            ]
            # Aliases last: they tell whoever follows that something changed.
            _insert(client, "trace_attributes", _ATTRIBUTES, attributes)
            _insert(client, "trace_aliases", _ALIASES, aliases)
        finally:
            client.close()


def _attributes(one: LearntTrace) -> tuple[Any, ...]:
    record = one.record
    return (
        one.project_id,
        record.source,
        record.trace_id,
        record.parent_id,
        record.name,
        record.model,
        record.prompt,
        record.version,
        record.user_id,
        record.thread_id,
        list(record.tags),
        dict(record.metadata),
        one.received_at,
    )


def _insert(client: Client, table: str, columns: dict[str, str], rows: list[tuple[Any, ...]]) -> None:
    if rows:
        client.insert(
            table,
            list(zip(*rows, strict=True)),
            column_names=list(columns),
            column_type_names=list(columns.values()),
            column_oriented=True,
            settings=known_settings(client, INSERT_SETTINGS),
        )


class TraceWriter:
    """Gets records into the tables for as long as it takes. ``on_trouble``: as for the writer of events.

    What ClickHouse refuses for its contents is dropped: it helps to break feedback down, and feedback goes before it.
    """

    def __init__(
        self,
        insert: Callable[[Sequence[LearntTrace]], None],
        backoff: Backoff,
        *,
        on_trouble: Callable[[object, Fault | None], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._insert = insert
        self._backoff = backoff
        self._on_trouble = on_trouble
        self._sleep = sleep

    async def write(self, learnt: Sequence[LearntTrace]) -> None:
        attempt, this_write = 0, object()
        try:
            while learnt:
                try:
                    await in_thread_of_its_own(self._insert, learnt)
                except Exception as error:  # noqa: BLE001 -- whatever it is, the rows are not in the tables yet
                    fault = fault_of(error)
                    log.warning("traces_not_inserted", fault=fault, records=len(learnt), reason=loggable(error))
                    if fault is Fault.ROW:
                        return
                    self._on_trouble(this_write, fault)
                    attempt += 1
                    await self._sleep(self._backoff.delay(attempt))
                else:
                    return
        finally:
            self._on_trouble(this_write, None)
