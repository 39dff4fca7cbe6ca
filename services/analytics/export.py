"""The filtered events as a file, in bounded memory however many there are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from enum import StrEnum
from typing import NamedTuple

from .errors import ApiError
from .filters import LATEST_ROWS, Condition, Filters
from .listing import Place, follow
from .warehouse import Warehouse

_EVENTS_AT_ONCE = 20_000


class ExportFormat(StrEnum):
    """Of the file."""

    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"


class _Form(NamedTuple):
    media_type: str
    first: str
    later: str


_FORMS = {
    ExportFormat.NDJSON: _Form("application/x-ndjson", "JSONEachRow", "JSONEachRow"),
    ExportFormat.CSV: _Form("text/csv; charset=utf-8", "CSVWithNames", "CSV"),
    ExportFormat.PARQUET: _Form("application/vnd.apache.parquet", "Parquet", "Parquet"),
}

_TEXT_TIME = "formatDateTime({0}, '%Y-%m-%dT%H:%i:%S.%fZ', 'UTC')"
_PLAIN = "{0}"

_COLUMNS = """
leftPad(lower(hex(dedupe_id)), 32, '0') AS id, {time} AS time, {received} AS received_at, source, trace_id, event_type,
vote, comment, {metrics} AS metrics, {details} AS details, user_id, thread_id, event_id, {told} AS timestamp,
toString(time_status) AS time_status, (isNotNull(vote) OR isNotNull(comment)) AND NOT holds AS superseded
"""

# The place of the last event of a lot, found in reading order; then the lot itself with FINAL.
_BOUNDARY = """
SELECT toUnixTimestamp64Micro(time) AS at, dedupe_id AS id
FROM feedback_resolved
WHERE {condition}
ORDER BY project_id DESC, time DESC, dedupe_id DESC
LIMIT 1 OFFSET {{skip:UInt32}}
"""

_LOT = """
SELECT {columns} FROM (SELECT * FROM {table} WHERE {condition}) AS e
ORDER BY e.time DESC, e.dedupe_id DESC
SETTINGS format_csv_null_representation = ''
"""


class Export:
    """One file of one project. ``most_in_parquet``: a Parquet file is made as a whole, so it has a limit."""

    def __init__(
        self, warehouse: Warehouse, project: str, filters: Filters, fmt: ExportFormat, most_in_parquet: int
    ) -> None:
        self._warehouse = warehouse
        self._project = project
        self._filters = filters
        self._format = fmt
        self._most_in_parquet = most_in_parquet

    @property
    def media_type(self) -> str:
        return _FORMS[self._format].media_type

    async def check(self) -> None:
        """Raises ApiError for what cannot be exported, before anything is sent."""
        if self._format is not ExportFormat.PARQUET:
            return
        condition = self._filters.condition(self._project)
        sql = f"SELECT count() AS events FROM {LATEST_ROWS} WHERE {condition.sql}"  # noqa: S608 -- parameters apart
        events = (await self._warehouse.rows(sql, condition.parameters))[0]["events"]
        if events > self._most_in_parquet:
            raise ApiError(
                422,
                "too_much",
                f"{events:,} events, and a Parquet file takes {self._most_in_parquet:,}: export a shorter period at a "
                "time, or NDJSON or CSV",
            )

    async def pieces(self) -> AsyncIterator[bytes]:
        """The file. Raises ApiError half-way where ClickHouse goes away: the transfer then breaks off visibly."""
        form = _FORMS[self._format]
        columns = _columns(plain=self._format is ExportFormat.PARQUET, maps=self._format is not ExportFormat.CSV)
        after: Place | None = None
        fmt = form.first
        while True:
            condition = self._rest(after)
            last = None if self._format is ExportFormat.PARQUET else await self._boundary(condition)
            if last is not None:
                condition.add(
                    "(time, dedupe_id) >= (fromUnixTimestamp64Micro({last_time:Int64}, 'UTC'), {last_id:UInt128})",
                    last_time=last.time,
                    last_id=last.id,
                )
                condition.add("time >= fromUnixTimestamp64Micro({last_time:Int64}, 'UTC')")
            sql = _LOT.format(columns=columns, table=LATEST_ROWS, condition=condition.sql)
            async for piece in self._warehouse.stream(sql, condition.parameters, fmt):
                yield piece
            if last is None:
                return
            after, fmt = last, form.later

    def _rest(self, after: Place | None) -> Condition:
        condition = self._filters.condition(self._project)
        if after is not None:
            follow(condition, after)
        return condition

    async def _boundary(self, condition: Condition) -> Place | None:
        sql = _BOUNDARY.format(condition=condition.sql)
        rows = await self._warehouse.rows(sql, {**condition.parameters, "skip": _EVENTS_AT_ONCE - 1})
        return Place(rows[0]["at"], rows[0]["id"]) if rows else None


def _columns(*, plain: bool, maps: bool) -> str:
    """``plain``: times stay times. ``maps``: metrics and details stay maps; else they are JSON."""
    time = _PLAIN if plain else _TEXT_TIME
    as_map = _PLAIN if maps else "toJSONString({0})"
    return _COLUMNS.format(
        time=time.format("e.time"),
        received=time.format("e.received_at"),
        told=time.format("e.timestamp"),
        metrics=as_map.format("e.metrics"),
        details=as_map.format("e.details"),
    )
