"""How it goes: totals and series of a period, and of the one before it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any
from zoneinfo import ZoneInfo

from .filters import LATEST_ROWS, Filters
from .period import Interval, Period, iso, micros
from .statistics import satisfaction
from .warehouse import Row, Warehouse

COUNTS = ("traces", "up", "down", "undone", "comments", "events")

COUNTED = """
countIf(is_current) AS traces, countIf(verdict = 'up') AS up, countIf(verdict = 'down') AS down,
countIf(verdict = 'undone') AS undone, countIf(commented) AS comments, count() AS events
"""

_SERIES = f"""
SELECT roundDown(toUnixTimestamp64Micro(time), {{starts:Array(Int64)}}) AS bucket, {COUNTED}
FROM {LATEST_ROWS}
WHERE {{condition}}
GROUP BY bucket
"""  # noqa: S608 -- constants of this file; values are parameters


async def summary(
    warehouse: Warehouse, project: str, filters: Filters, interval: Interval, zone: ZoneInfo
) -> dict[str, Any]:
    """Raises ApiError. A trace counts in the bucket of its deciding vote, a comment in that of its own time."""
    now, before = filters.period, filters.period.previous(zone)
    series, previous_series = await asyncio.gather(
        _series(warehouse, project, filters, now, interval, zone),
        _series(warehouse, project, filters, before, interval, zone),
    )
    return {
        "from": iso(now.start),
        "to": iso(now.end),
        "interval": interval.value,
        "tz": zone.key,
        "totals": rated(_sum(series)),
        "previous": rated(_sum(previous_series)),
        "series": [_bucket(row) for row in series],
        "previous_from": iso(before.start),
        "previous_series": [_bucket(row) for row in previous_series],
    }


async def _series(
    warehouse: Warehouse, project: str, filters: Filters, period: Period, interval: Interval, zone: ZoneInfo
) -> list[Row]:
    """One row a bucket, empty ones included."""
    starts = [micros(start) for start in period.buckets(interval, zone)]
    condition = _over(filters, period).condition(project)
    sql = _SERIES.replace("{condition}", condition.sql)
    rows = await warehouse.rows(sql, {**condition.parameters, "starts": starts})
    found = {row["bucket"]: row for row in rows}
    return [found.get(start, {"bucket": start, **dict.fromkeys(COUNTS, 0)}) for start in starts]


def _over(filters: Filters, period: Period) -> Filters:
    return Filters(period, source=filters.source, event_type=filters.event_type)


def _sum(rows: Iterable[Row]) -> dict[str, int]:
    totals = dict.fromkeys(COUNTS, 0)
    for row in rows:
        for name in COUNTS:
            totals[name] += row[name]
    return totals


def rated(counts: Row) -> dict[str, Any]:
    """Counts with the satisfaction that they amount to."""
    told = {name: counts[name] for name in COUNTS}
    return told | satisfaction(counts["up"], counts["down"]).as_dict()


def _bucket(row: Row) -> dict[str, Any]:
    return {"time": iso(row["bucket"]), **rated(row)}
