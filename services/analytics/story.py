"""One trace: what holds now, and all that was said of it, as it was sent. Straight from the tables that workers fill,
so it is never behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from shared.events import Source

from .errors import ApiError
from .listing import event
from .period import iso
from .warehouse import Row, Warehouse

MOST_IN_A_STORY = 1_000

# The ids under which the trace is known: its own, and where the given one is an alias, what it stands for.
_IDS = """
SELECT source, alias, argMax(trace_id, learnt_at) AS root FROM trace_aliases
WHERE project_id = {project:String} AND source IN {sources:Array(String)} AND (alias, source) IN (
    SELECT alias, source FROM trace_aliases
    WHERE project_id = {project:String} AND source IN {sources:Array(String)} AND alias IN {ids:Array(String)}
    UNION ALL
    SELECT alias, source FROM trace_aliases_by_trace
    WHERE project_id = {project:String} AND source IN {sources:Array(String)} AND trace_id IN {ids:Array(String)}
)
GROUP BY source, alias
"""

_PLACES = """
SELECT project_id, source, dedupe_id, max(key_time) AS key_time, min(first_received) AS first, max(standing) AS said,
       if(isNull(said.client_time), first, least(assumeNotNull(said.client_time), first)) AS time
FROM feedback_by_trace
WHERE project_id = {project:String} AND (source, trace_id) IN (
    SELECT member.1, member.2
    FROM (SELECT arrayJoin(arrayZip({member_sources:Array(String)}, {member_ids:Array(String)})) AS member)
) AND source IN {sources:Array(String)} AND trace_id IN {member_ids:Array(String)}
GROUP BY project_id, source, dedupe_id
"""

_CURRENT = f"""
SELECT source, argMax(said.vote, ord) AS vote, argMax(said.comment, ord) AS comment,
       toUnixTimestamp64Micro(maxIf(time, said.vote IS NOT NULL)) AS vote_time, count() AS events, max(first) AS latest
FROM (SELECT *, (time, first, dedupe_id) AS ord FROM ({_PLACES}))
GROUP BY source
ORDER BY latest DESC
"""  # noqa: S608 -- constants; values are parameters

_HISTORY = f"""
WITH places AS ({_PLACES} ORDER BY time DESC, first DESC, dedupe_id DESC LIMIT {{most:UInt32}})
SELECT p.dedupe_id AS id, toUnixTimestamp64Micro(p.time) AS at, toUnixTimestamp64Micro(p.first) AS first,
       e.source AS source, e.trace_id AS trace_id, e.event_type AS event_type, e.vote AS vote,
       e.comment AS comment, e.metrics AS metrics, e.details AS details, e.user_id AS user_id,
       e.thread_id AS thread_id, e.event_id AS event_id, e.raw AS raw,
       toUnixTimestamp64Micro(e.timestamp) AS told, toString(e.time_status) AS status,
       toUnixTimestamp64Micro(e.received_at) AS received, toString(e.request_id) AS request_id
FROM places AS p
INNER JOIN (
    SELECT * FROM feedback_events FINAL
    WHERE project_id = {{project:String}} AND (key_time, dedupe_id) IN (SELECT key_time, dedupe_id FROM places)
) AS e ON e.dedupe_id = p.dedupe_id
ORDER BY at, first, id
"""  # noqa: S608 -- constants; values are parameters


async def story(warehouse: Warehouse, project: str, trace_id: str, source: str | None) -> dict[str, Any]:
    """Raises ApiError: 404 for a trace of which this project has no feedback."""
    sources = [source] if source else [known.value for known in Source]
    parameters: dict[str, Any] = {"project": project, "sources": sources}
    members, roots = await _members(warehouse, parameters, trace_id)
    parameters |= {
        "member_sources": [member[0] for member in members],
        "member_ids": [member[1] for member in members],
        "most": MOST_IN_A_STORY,
    }
    current, history = await asyncio.gather(warehouse.rows(_CURRENT, parameters), warehouse.rows(_HISTORY, parameters))
    if not current:
        raise ApiError(404, "unknown_trace", "No feedback on this trace is known in this project; is the id complete?")
    # A trace id names one thing in one format; where both use it, the one that was heard of last comes first.
    now = current[0]
    events = [row for row in history if row["source"] == now["source"]]
    return {
        "trace_id": roots[now["source"]],
        "source": now["source"],
        "aliases": [member[1] for member in members if member[0] == now["source"] and member[1] != roots[member[0]]],
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


async def _members(
    warehouse: Warehouse, parameters: dict[str, Any], trace_id: str
) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """All (source, id) under which the trace is known; and by source the id that it counts under."""
    sources: list[str] = parameters["sources"]
    roots = dict.fromkeys(sources, trace_id)
    known = await warehouse.rows(_IDS, {**parameters, "ids": [trace_id]})
    standing_for = {row["source"]: row["root"] for row in known if row["alias"] == trace_id}
    if standing_for:
        roots |= standing_for
        known = await warehouse.rows(_IDS, {**parameters, "ids": sorted({trace_id, *roots.values()})})
    members = {(source, root) for source, root in roots.items()}
    members |= {(row["source"], row["alias"]) for row in known if roots[row["source"]] == row["root"]}
    return sorted(members), roots


def merged(events: Sequence[Row]) -> dict[str, Any]:
    """Metrics and details by name, as they were last told, in the order of time."""
    told: dict[str, Any] = {}
    for row in events:
        told |= row["details"] | row["metrics"]
    return told


def _chapter(row: Row, events: Sequence[Row]) -> dict[str, Any]:
    deciding = {_last_that_says(events, "vote"), _last_that_says(events, "comment")}
    return event(row, holds=row["id"] in deciding) | {
        "first_received_at": iso(row["first"]),
        "sent_again": row["first"] != row["received"],
        "request_id": row["request_id"],
        "raw": row["raw"] or None,
    }


def _last_that_says(events: Sequence[Row], name: str) -> int | None:
    return next((row["id"] for row in reversed(events) if row[name] is not None), None)
