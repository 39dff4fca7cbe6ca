"""The live tail: events as they come into the tables, each once, as server-sent events.

An event is new when its identity is: a retransmission of something known shows nothing. The order is that of coming
in, and the id of the last one is enough to go on from it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable

from .errors import ApiError, bad_parameter
from .filters import Condition, Filters
from .freshness import Freshness
from .listing import EVENT_COLUMNS, event, to_json
from .warehouse import Row, Warehouse

_MOST_AT_ONCE = 200
_REMEMBERED = 2_000

# An insert is stamped when it begins and seen when it ends: those of the last seconds are looked at again.
_LOOK_BACK = 10_000_000

_NEWLY_SEEN = """
SELECT {columns}
FROM feedback_resolved
WHERE {condition} AND seen_at > fromUnixTimestamp64Micro({{seen_after:Int64}}, 'UTC')
ORDER BY seen_at, dedupe_id, generation
LIMIT 1 BY dedupe_id
LIMIT {{most:UInt32}}
"""


class Tails:
    """``most``: connections at once. ``poll``: seconds between looks; ``heartbeat``: between signs of life."""

    def __init__(
        self,
        warehouse: Warehouse,
        freshness: Freshness,
        *,
        most: int,
        wall_clock: Callable[[], int],
        poll: float = 1.0,
        heartbeat: float = 15.0,
    ) -> None:
        self._warehouse = warehouse
        self._freshness = freshness
        self._most = most
        self._wall_clock = wall_clock
        self._poll = poll
        self._heartbeat = heartbeat
        self._open = 0
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Ends all tails, so that the process can stop."""
        self._closing.set()

    def follow(self, project: str, filters: Filters, last_event_id: str | None) -> AsyncIterator[bytes]:
        """The text of the stream, for ever. Raises ApiError for one tail too many or an id that was never given."""
        if self._open >= self._most:
            raise ApiError(503, "busy", "Too many live tails at once; try again later.", retry_after=10)
        return self._follow(project, filters, _read_id(last_event_id))

    async def _follow(self, project: str, filters: Filters, after: int | None) -> AsyncIterator[bytes]:
        self._open += 1
        try:
            yield b"retry: 2000\n\n: following\n\n"
            # Who resumes gets what came meanwhile; who begins, what comes from now on.
            reached = after if after is not None else self._wall_clock()
            floor = reached
            shown: OrderedDict[int, None] = OrderedDict()
            generation, quiet = -1, 0.0
            while not self._closing.is_set():
                found, generation = await self._look(project, filters, max(floor, reached - _LOOK_BACK), generation)
                fresh = [row for row in found or () if row["id"] not in shown]
                for row in fresh:
                    reached = max(reached, row["seen"])
                    shown[row["id"]] = None
                    yield _message(row)
                while len(shown) > _REMEMBERED:
                    shown.popitem(last=False)
                quiet = 0.0 if fresh else quiet + self._poll
                if found is None or quiet >= self._heartbeat:
                    quiet = 0.0
                    yield b": away\n\n" if found is None else b": here\n\n"
                await self._pause()
        finally:
            self._open -= 1

    async def _look(
        self, project: str, filters: Filters, seen_after: int, generation: int
    ) -> tuple[list[Row] | None, int]:
        """New rows, and the generation that they are of; None for the rows while nobody answers."""
        try:
            progress = await self._freshness.progress()
            if progress is None or progress.generation == generation:
                return [], generation
            condition: Condition = filters.condition(project)
            sql = _NEWLY_SEEN.format(columns=EVENT_COLUMNS, condition=condition.sql)
            parameters = {**condition.parameters, "seen_after": seen_after, "most": _MOST_AT_ONCE}
            rows = await self._warehouse.rows(sql, parameters)
        except ApiError:
            return None, generation
        # A full lot is not the end of it.
        return rows, progress.generation if len(rows) < _MOST_AT_ONCE else -1

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._poll):
                await self._closing.wait()
        except TimeoutError:
            return


def _message(row: Row) -> bytes:
    return f"id: {row['seen']}\nevent: feedback\ndata: {to_json(event(row))}\n\n".encode()


def _read_id(text: str | None) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise bad_parameter("Last-Event-ID", "give back the id of the last event, unchanged")
    return int(text)
