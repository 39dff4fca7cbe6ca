"""One trace: what holds now, and all that was said of it, as it was sent. Straight from the tables that workers fill,
so it is never behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from shared.events import Source

from .errors import ApiError
from .period import iso
from .warehouse import Row, Warehouse

MOST_IN_A_STORY = 1_000

_CURRENT = """
SELECT source, vote, comment, toUnixTimestamp64Micro(vote_time) AS vote_time, events,
       toUnixTimestamp64Micro(last_received) AS last_received
FROM feedback_current
WHERE project_id = {project:String} AND source IN {sources:Array(String)} AND trace_id = {trace_id:String}
ORDER BY last_received DESC
"""

_HISTORY = """
WITH places AS (
    SELECT project_id, source, dedupe_id, max(key_time) AS key_time,
           min(first_received) AS first, max(standing) AS said,
           if(isNull(said.client_time), first, least(assumeNotNull(said.client_time), first)) AS time
    FROM feedback_by_trace
    WHERE project_id = {project:String} AND source IN {sources:Array(String)} AND trace_id = {trace_id:String}
    GROUP BY project_id, source, dedupe_id
    ORDER BY time DESC, first DESC, dedupe_id DESC
    LIMIT {most:UInt32}
)
SELECT p.dedupe_id AS id, toUnixTimestamp64Micro(p.time) AS at, toUnixTimestamp64Micro(p.first) AS first,
       e.source AS source, e.trace_id AS trace_id, e.event_type AS event_type, e.vote AS vote, e.comment AS comment,
       e.metrics AS metrics, e.details AS details, e.user_id AS user_id, e.thread_id AS thread_id, e.event_id AS event_id, e.raw AS raw,
       toUnixTimestamp64Micro(e.timestamp) AS told, toString(e.time_status) AS status,
       toUnixTimestamp64Micro(e.received_at) AS received, toString(e.request_id) AS request_id
FROM places AS p
INNER JOIN (
    SELECT * FROM feedback_events FINAL
    WHERE project_id = {project:String} AND (key_time, dedupe_id) IN (SELECT key_time, dedupe_id FROM places)
) AS e ON e.dedupe_id = p.dedupe_id
ORDER BY at, first, id
"""


async def story(warehouse: Warehouse, project: str, trace_id: str, source: str | None) -> dict[str, Any]:
    """Raises ApiError: 404 for a trace of which this project has no feedback."""
    sources = [source] if source else [known.value for known in Source]
    parameters = {"project": project, "sources": sources, "trace_id": trace_id, "most": MOST_IN_A_STORY}
    current, history = await asyncio.gather(warehouse.rows(_CURRENT, parameters), warehouse.rows(_HISTORY, parameters))
    if not current:
        raise ApiError(404, "unknown_trace", "No feedback on this trace is known in this project; is the id complete?")
    # A trace id names one thing in one format; where both use it, the one that was heard of last comes first.
    now = current[0]
    events = [row for row in history if row["source"] == now["source"]]
    return {
        "trace_id": trace_id,
        "source": now["source"],
        "other_sources": [row["source"] for row in current[1:]],
        "current": {
            "vote": now["vote"],
            "vote_time": iso(now["vote_time"]) if now["vote"] is not None else None,
            "comment": now["comment"],
            "feedback": merged(events),
        },
        "total_events": now["events"],
        "events": [_chapter(row, events) for row in events],
    }


def merged(events: Sequence[Row]) -> dict[str, Any]:
    """Metrics and details by name, as they were last told, in the order of time."""
    told: dict[str, Any] = {}
    for row in events:
        told |= row["details"] | row["metrics"]
    return told


def _chapter(row: Row, events: Sequence[Row]) -> dict[str, Any]:
    deciding = {_last_that_says(events, "vote"), _last_that_says(events, "comment")}
    says_something = row["vote"] is not None or row["comment"] is not None
    return {
        "id": f"{row['id']:032x}",
        "time": iso(row["at"]),
        "received_at": iso(row["received"]),
        "first_received_at": iso(row["first"]),
        "sent_again": row["first"] != row["received"],
        "source": row["source"],
        "trace_id": row["trace_id"],
        "event_type": row["event_type"],
        "vote": row["vote"],
        "comment": row["comment"],
        "metrics": row["metrics"],
        "details": row["details"],
        "user_id": row["user_id"],
        "thread_id": row["thread_id"],
        "event_id": row["event_id"],
        "timestamp": iso(row["told"]),
        "time_status": row["status"],
        "superseded": says_something and row["id"] not in deciding,
        "request_id": row["request_id"],
        "raw": row["raw"] or None,
    }


def _last_that_says(events: Sequence[Row], name: str) -> int | None:
    return next((row["id"] for row in reversed(events) if row[name] is not None), None)
