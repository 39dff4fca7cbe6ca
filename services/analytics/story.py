"""One trace: what holds now, and all that was said of it, as it was sent. Straight from the tables that workers fill,
so it is never behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

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

# The ids alone are looked for first: the rows of a trace lie together, and few others are read.
_PLACES = """
SELECT project_id, source, dedupe_id, max(key_time) AS key_time, min(first_received) AS first, max(standing) AS said,
       if(isNull(said.client_time), first, least(assumeNotNull(said.client_time), first)) AS time
FROM feedback_by_trace
WHERE project_id = {project:String} AND source IN {sources:Array(String)} AND trace_id IN {member_ids:Array(String)}
  AND has(arrayZip({member_sources:Array(String)}, {member_ids:Array(String)}), (toString(source), trace_id))
GROUP BY project_id, source, dedupe_id
"""

_CURRENT = f"""
SELECT source, argMax(said.vote, ord) AS vote, argMax(said.comment, ord) AS comment,
       toUnixTimestamp64Micro(maxIf(time, said.vote IS NOT NULL)) AS vote_time, count() AS events, max(first) AS latest
FROM (SELECT *, (time, first, dedupe_id) AS ord FROM ({_PLACES}))
GROUP BY source
ORDER BY latest DESC
"""  # noqa: S608 -- constants; values are parameters

_NEWEST = f"""
SELECT dedupe_id AS id, toUnixTimestamp64Micro(time) AS at, toUnixTimestamp64Micro(first) AS first,
       toUnixTimestamp64Micro(key_time) AS key_time
FROM ({_PLACES})
ORDER BY time DESC, first DESC, dedupe_id DESC LIMIT {{most:UInt32}}
"""  # noqa: S608 -- constants; values are parameters

# An event has the same place in all its rows, so those of these places may be picked before FINAL looks at them.
_EVENTS = """
SELECT dedupe_id AS id, source, trace_id, event_type, vote, comment, metrics, details, user_id, thread_id, event_id,
       raw, toUnixTimestamp64Micro(timestamp) AS told, toString(time_status) AS status,
       toUnixTimestamp64Micro(received_at) AS received, toString(request_id) AS request_id
FROM feedback_events FINAL
WHERE project_id = {project:String} AND (key_time, dedupe_id) IN (
    SELECT fromUnixTimestamp64Micro(place.1, 'UTC'), place.2
    FROM (SELECT arrayJoin(arrayZip({times:Array(Int64)}, {ids:Array(UInt128)})) AS place)
)
SETTINGS optimize_move_to_prewhere_if_final = 1
"""


class _Members(NamedTuple):
    """All (source, id) under which a trace is known; and by source the id that it counts under."""

    ids: list[tuple[str, str]]
    roots: dict[str, str]


class _Story(NamedTuple):
    """By source what holds now, the one heard of last first; and where the newest events are, newest first."""

    current: list[Row]
    places: list[Row]


async def story(warehouse: Warehouse, project: str, trace_id: str, source: str | None) -> dict[str, Any]:
    """Raises ApiError: 404 for a trace of which this project has no feedback."""
    sources = [source] if source else [known.value for known in Source]
    asked = _Members([(source, trace_id) for source in sources], dict.fromkeys(sources, trace_id))
    # Most traces have one id: they are looked up while their others are looked for.
    members, (current, places) = await asyncio.gather(
        _members(warehouse, project, sources, trace_id), _told_of(warehouse, project, sources, asked)
    )
    if members != asked:
        current, places = await _told_of(warehouse, project, sources, members)
    roots = members.roots
    if not current:
        raise ApiError(404, "unknown_trace", "No feedback on this trace is known in this project; is the id complete?")
    # A trace id names one thing in one format; where both use it, the one that was heard of last comes first.
    now = current[0]
    events = [row for row in await _events(warehouse, project, places) if row["source"] == now["source"]]
    return {
        "trace_id": roots[now["source"]],
        "source": now["source"],
        "aliases": [
            member[1] for member in members.ids if member[0] == now["source"] and member[1] != roots[member[0]]
        ],
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


async def _members(warehouse: Warehouse, project: str, sources: list[str], trace_id: str) -> _Members:
    parameters: dict[str, Any] = {"project": project, "sources": sources}
    roots = dict.fromkeys(sources, trace_id)
    known = await warehouse.rows(_IDS, {**parameters, "ids": [trace_id]})
    standing_for = {row["source"]: row["root"] for row in known if row["alias"] == trace_id}
    if standing_for:
        roots |= standing_for
        known = await warehouse.rows(_IDS, {**parameters, "ids": sorted({trace_id, *roots.values()})})
    members = {(source, root) for source, root in roots.items()}
    members |= {(row["source"], row["alias"]) for row in known if roots[row["source"]] == row["root"]}
    return _Members(sorted(members), roots)


async def _told_of(warehouse: Warehouse, project: str, sources: list[str], members: _Members) -> _Story:
    parameters = {
        "project": project,
        "sources": sources,
        "member_sources": [member[0] for member in members.ids],
        "member_ids": [member[1] for member in members.ids],
    }
    current, places = await asyncio.gather(
        warehouse.rows(_CURRENT, parameters), warehouse.rows(_NEWEST, {**parameters, "most": MOST_IN_A_STORY})
    )
    return _Story(current, places)


async def _events(warehouse: Warehouse, project: str, places: list[Row]) -> list[Row]:
    """The events of these places as they were sent, in the order of time."""
    keys = {"times": [place["key_time"] for place in places], "ids": [place["id"] for place in places]}
    found = {row["id"]: row for row in await warehouse.rows(_EVENTS, {"project": project, **keys})}
    return [found[place["id"]] | place for place in reversed(places) if place["id"] in found]


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
