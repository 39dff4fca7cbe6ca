"""Events, newest first, a page at a time: what every event looks like to a client, and how pages follow each other."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple, Self

from .errors import bad_parameter
from .filters import Condition, Filters
from .period import iso
from .warehouse import Row, Warehouse

MOST_EVENTS = 1_000

EVENT_COLUMNS = """
toUnixTimestamp64Micro(time) AS at, dedupe_id AS id, source, trace_id, event_type, vote, comment, metrics, details,
user_id, thread_id, event_id, toUnixTimestamp64Micro(timestamp) AS told, toString(time_status) AS status,
toUnixTimestamp64Micro(received_at) AS received, toUnixTimestamp64Micro(seen_at) AS seen, holds, is_current,
current_vote, current_comment
"""


class Place(NamedTuple):
    """Where an event stands in the order of the list: its time (microseconds since 1970), then its id."""

    time: int
    id: int

    def cursor(self) -> str:
        return base64.urlsafe_b64encode(f"{self.time}.{self.id:032x}".encode()).rstrip(b"=").decode()

    @classmethod
    def read(cls, cursor: str) -> Self:
        """Raises ApiError for what was never given out."""
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            time, _, dedupe_id = base64.b64decode(padded, altchars=b"-_", validate=True).decode().partition(".")
            place = cls(int(time), int(dedupe_id, 16))
        except (binascii.Error, ValueError):
            raise bad_parameter("cursor", "give back what the last answer said under next, unchanged") from None
        if not (-(1 << 63) <= place.time < 1 << 63 and 0 <= place.id < 1 << 128):
            raise bad_parameter("cursor", "give back what the last answer said under next, unchanged")
        return place


class Page(NamedTuple):
    events: list[dict[str, Any]]
    next: str | None

    def as_dict(self) -> dict[str, Any]:
        return {"events": self.events, "next": self.next}


# FINAL would read the whole period to find the newest few, and plans for longer than it takes to look up fifty places.
# So first the newest places in reading order, which ends as soon as there are enough: a row that was superseded may be
# among them, one that stands is never missed. Then every row of just these places; the one written last says whether
# the event is wanted.
_PLACES = """
SELECT {columns}, {condition} AS wanted
FROM feedback_resolved
WHERE project_id = {{project:String}} AND (time, dedupe_id) IN (
    SELECT time, dedupe_id FROM feedback_resolved WHERE {condition}
    ORDER BY project_id DESC, time DESC, dedupe_id DESC
    LIMIT {{most:UInt32}}
)
ORDER BY time DESC, dedupe_id DESC, generation DESC
"""


async def newest(warehouse: Warehouse, project: str, filters: Filters, limit: int, cursor: str | None) -> Page:
    """Raises ApiError. Stable: what comes in meanwhile never repeats or skips an event on later pages."""
    after = Place.read(cursor) if cursor else None
    found: list[Row] = []
    # Most candidates stand; where a part of the table is being rewritten, every other one may not.
    most = limit + limit // 2 + 20
    while len(found) <= limit:
        condition = filters.condition(project)
        if after is not None:
            follow(condition, after)
        sql = _PLACES.format(columns=EVENT_COLUMNS, condition=condition.sql)
        rows = await warehouse.rows(sql, {**condition.parameters, "most": most})
        found += [row for row in _standing(rows) if row["wanted"]]
        # Every candidate is a row that is wanted. Not all of them need be there still: parts are merged meanwhile.
        if sum(bool(row["wanted"]) for row in rows) <= most // 2:
            break
        after = _place(rows[-1])
    events = [event(row, holds=row["holds"], current=filters.current) for row in found[:limit]]
    more = len(found) > limit
    return Page(events, _place(found[limit - 1]).cursor() if more else None)


def follow(condition: Condition, after: Place) -> None:
    """Only what stands behind ``after`` in the list."""
    condition.add(
        "(time, dedupe_id) < (fromUnixTimestamp64Micro({after_time:Int64}, 'UTC'), {after_id:UInt128})",
        after_time=after.time,
        after_id=after.id,
    )
    # Said once more in a way that prunes.
    condition.add("time <= fromUnixTimestamp64Micro({after_time:Int64}, 'UTC')")


def _standing(rows: Sequence[Row]) -> Iterator[Row]:
    """Of each place the first row."""
    for _, of_place in groupby(rows, key=_place):
        yield next(of_place)


def _place(row: Row) -> Place:
    return Place(row["at"], row["id"])


def event(row: Row, *, holds: bool, current: bool = False) -> dict[str, Any]:
    """A row as clients see it. ``holds``: whether it decides what its trace's vote or comment is. ``current``: vote and
    comment are those of the trace now.
    """
    says_something = row["vote"] is not None or row["comment"] is not None
    return {
        "id": f"{row['id']:032x}",
        "time": iso(row["at"]),
        "received_at": iso(row["received"]),
        "source": row["source"],
        "trace_id": row["trace_id"],
        "event_type": row["event_type"],
        "vote": row["current_vote"] if current else row["vote"],
        "comment": row["current_comment"] if current else row["comment"],
        "metrics": row["metrics"],
        "details": row["details"],
        "user_id": row["user_id"],
        "thread_id": row["thread_id"],
        "event_id": row["event_id"],
        "timestamp": iso(row["told"]),
        "time_status": row["status"],
        "superseded": says_something and not holds,
    }


def to_json(value: object) -> str:
    """Compact, and never NaN."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
