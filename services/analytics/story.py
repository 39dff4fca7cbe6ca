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
OTHER_IDS = """
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

# Where its events are, the newest of each source, each with what all of its source say together. The ids alone are
# looked for first: testing pairs row by row would cost more than all the rest.
_PLACES = """
SELECT source, dedupe_id AS id, toUnixTimestamp64Micro(time) AS at, toUnixTimestamp64Micro(received) AS first,
       toUnixTimestamp64Micro(key_time) AS key_time,
       argMax(said.vote, ord) OVER of_source AS vote, argMax(said.comment, ord) OVER of_source AS comment,
       toUnixTimestamp64Micro(maxIf(time, said.vote IS NOT NULL) OVER of_source) AS vote_time,
       count() OVER of_source AS events, max(received) OVER of_source AS latest
FROM (
    SELECT source, dedupe_id, max(key_time) AS key_time, min(first_received) AS received, max(standing) AS said,
           if(isNull(said.client_time), received, least(assumeNotNull(said.client_time), received)) AS time,
           (time, received, dedupe_id) AS ord
    FROM feedback_by_trace
    WHERE project_id = {project:String} AND source IN {sources:Array(String)} AND trace_id IN {member_ids:Array(String)}
    GROUP BY source, dedupe_id
    HAVING has(arrayZip({member_sources:Array(String)}, {member_ids:Array(String)}), (toString(source), any(trace_id)))
)
WINDOW of_source AS (PARTITION BY source)
ORDER BY latest DESC, source, time DESC, received DESC, dedupe_id DESC
LIMIT {most:UInt32} BY source
"""

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


async def story(warehouse: Warehouse, project: str, trace_id: str, source: str | None) -> dict[str, Any]:
    """Raises ApiError: 404 for a trace of which this project has no feedback."""
    sources = [source] if source else [known.value for known in Source]
    asked = _Members([(source, trace_id) for source in sources], dict.fromkeys(sources, trace_id))
    # Most traces have one id: they are looked up while their others are looked for.
    members, places = await asyncio.gather(
        _members(warehouse, project, sources, trace_id), _places(warehouse, project, sources, asked)
    )
    if members != asked:
        places = await _places(warehouse, project, sources, members)
    if not places:
        raise ApiError(404, "unknown_trace", "No feedback on this trace is known in this project; is the id complete?")
    # A trace id names one thing in one format; where both use it, the one that was heard of last comes first.
    now = places[0]
    events = await _events(warehouse, project, [place for place in places if place["source"] == now["source"]])
    roots = members.roots
    return {
        "trace_id": roots[now["source"]],
        "source": now["source"],
        "aliases": [
            member[1] for member in members.ids if member[0] == now["source"] and member[1] != roots[member[0]]
        ],
        "other_sources": [
            source for source in dict.fromkeys(place["source"] for place in places) if source != now["source"]
        ],
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
    known = await warehouse.rows(OTHER_IDS, {**parameters, "ids": [trace_id]})
    standing_for = {row["source"]: row["root"] for row in known if row["alias"] == trace_id}
    if standing_for:
        roots |= standing_for
        known = await warehouse.rows(OTHER_IDS, {**parameters, "ids": sorted({trace_id, *roots.values()})})
    members = {(source, root) for source, root in roots.items()}
    members |= {(row["source"], row["alias"]) for row in known if roots[row["source"]] == row["root"]}
    return _Members(sorted(members), roots)


async def _places(warehouse: Warehouse, project: str, sources: list[str], members: _Members) -> list[Row]:
    parameters = {
        "project": project,
        "sources": sources,
        "member_sources": [member[0] for member in members.ids],
        "member_ids": [member[1] for member in members.ids],
        "most": MOST_IN_A_STORY,
    }
    return await warehouse.rows(_PLACES, parameters)


async def _events(warehouse: Warehouse, project: str, places: list[Row]) -> list[Row]:
    """The events of these places as they were sent, with when each was, in the order of time."""
    keys = {"times": [place["key_time"] for place in places], "ids": [place["id"] for place in places]}
    found = {row["id"]: row for row in await warehouse.rows(_EVENTS, {"project": project, **keys})}
    return [
        found[place["id"]] | {"at": place["at"], "first": place["first"]}
        for place in reversed(places)
        if place["id"] in found
    ]


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
