"""What ClickHouse holds of a run, read the way users are told to read it: FINAL, and feedback_current."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from services.loadgen.plan import TraceRange

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


class StoredEvent(NamedTuple):
    """A row of ``feedback_events FINAL``. Times in microseconds since 1970; request_id as a number."""

    source: str
    trace_id: str
    dedupe_id: int
    event_type: str
    timestamp: int
    time_status: str
    received_at: int
    version: int
    vote: float | None
    comment: str | None
    metrics: Mapping[str, float]
    details: Mapping[str, str | None]
    user_id: str | None
    thread_id: str | None
    event_id: str | None
    request_id: int
    event_index: int
    raw: bytes


class StoredCurrent(NamedTuple):
    """A row of ``feedback_current``. vote_time in microseconds since 1970."""

    source: str
    trace_id: str
    vote: float | None
    comment: str | None
    vote_time: int
    events: int


class Store(Protocol):
    """Where a run's events can be read back."""

    def events(self, ranges: Sequence[TraceRange]) -> Iterator[StoredEvent]: ...

    def current(self, ranges: Sequence[TraceRange]) -> Iterator[StoredCurrent]: ...


_EVENTS = """
SELECT source, trace_id, dedupe_id, event_type, toUnixTimestamp64Micro(timestamp), toString(time_status),
       toUnixTimestamp64Micro(received_at), version, vote, comment, metrics, details, user_id, thread_id, event_id,
       request_id, event_index, raw
FROM feedback_events FINAL
WHERE project_id = %(project)s AND ({ranges})
"""

_CURRENT = """
SELECT source, trace_id, vote, comment, toUnixTimestamp64Micro(vote_time), events
FROM feedback_current
WHERE project_id = %(project)s AND ({ranges})
"""


class ClickHouseStore:
    """Streams rows, so that memory is bounded by what the caller keeps."""

    def __init__(self, client: Client, project: str) -> None:
        self._client = client
        self._project = project

    def events(self, ranges: Sequence[TraceRange]) -> Iterator[StoredEvent]:
        for row in self._rows(_EVENTS, ranges, {"raw": "bytes"}):
            yield StoredEvent._make([*row[:15], row[15].int, *row[16:]])

    def current(self, ranges: Sequence[TraceRange]) -> Iterator[StoredCurrent]:
        for row in self._rows(_CURRENT, ranges, None):
            yield StoredCurrent._make(row)

    def _rows(
        self, statement: str, ranges: Sequence[TraceRange], formats: dict[str, str | dict[str, str]] | None
    ) -> Iterator[Sequence[Any]]:
        parameters = {"project": self._project}
        conditions = []
        for at, (start, end) in enumerate(ranges):
            conditions.append(f"(trace_id >= %(start{at})s AND trace_id < %(end{at})s)")
            parameters |= {f"start{at}": start, f"end{at}": end}
        sql = statement.format(ranges=" OR ".join(conditions))
        with self._client.query_rows_stream(sql, parameters, column_formats=formats) as rows:
            yield from rows
