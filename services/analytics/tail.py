"""The live tail: events as they come into the tables, each once, as server-sent events.

An event is new when its identity is: a retransmission of something known shows nothing. The order is that of coming
in, and the id of the last one is enough to go on from it.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import NamedTuple

from .errors import ApiError, bad_parameter
from .filters import Filters
from .freshness import Freshness
from .listing import EVENT_COLUMNS, event, to_json
from .warehouse import Row, Warehouse

_PAGE = 200
_PAGES_A_LOOK = 5
_REMEMBERED = 20_000
_ID = re.compile(r"(\d{1,18})-([0-9a-f]{32})")

FOLLOWING = b": following\n\n"
"""From here on, whatever comes into the tables is told."""

# An insert is stamped when it begins and seen when it ends: those of the last seconds are looked at again.
_LOOK_BACK = 10_000_000

# Only what was written since the last look, so that looking again costs nothing.
_NEWLY_SEEN = """
SELECT {columns}
FROM feedback_resolved
WHERE {condition} AND generation > {{looked:UInt64}} AND generation <= {{generation:UInt64}}
  AND seen_at >= fromUnixTimestamp64Micro({{seen:Int64}}, 'UTC')
  AND (seen_at, dedupe_id) > (fromUnixTimestamp64Micro({{seen:Int64}}, 'UTC'), {{id:UInt128}})
ORDER BY seen_at, dedupe_id, generation DESC
LIMIT 1 BY dedupe_id
LIMIT {{most:UInt32}}
"""

_JUST_SEEN = """
SELECT DISTINCT dedupe_id AS id FROM feedback_resolved
WHERE {condition} AND seen_at >= fromUnixTimestamp64Micro({{seen:Int64}}, 'UTC')
LIMIT {{most:UInt32}}
"""


class _Mark(NamedTuple):
    """How far a tail has come: when the event came into the tables (microseconds since 1970), and its id."""

    seen: int
    id: int

    @classmethod
    def of(cls, row: Row) -> _Mark:
        return cls(row["seen"], row["id"])


class Tails:
    """``most``: connections at once. ``poll``: seconds between looks; ``heartbeat``: between signs of life."""

    def __init__(
        self, warehouse: Warehouse, freshness: Freshness, *, most: int, poll: float = 1.0, heartbeat: float = 15.0
    ) -> None:
        self._warehouse = warehouse
        self._freshness = freshness
        self._most = most
        self._poll = poll
        self._heartbeat = heartbeat
        self._open = 0
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Ends all tails, so that the process can stop."""
        self._closing.set()

    def follow(self, project: str, filters: Filters, last_event_id: str | None) -> AsyncIterator[bytes]:
        """The text of the stream, for ever. Raises ApiError for one tail too many or an id that was never given."""
        resume = _read_id(last_event_id)
        if self._open >= self._most:
            raise ApiError(503, "busy", "Too many live tails at once; try again later.", retry_after=10)
        return self._stream(_Tail(self._warehouse, self._freshness, project, filters, resume))

    async def _stream(self, tail: _Tail) -> AsyncIterator[bytes]:
        self._open += 1
        try:
            yield b"retry: 2000\n\n"
            quiet, following = 0.0, False
            while not self._closing.is_set():
                said = False
                try:
                    async for message in tail.look():
                        said = True
                        yield message
                except ApiError:
                    yield b": away\n\n"
                if tail.following and not following:
                    said = following = True
                    yield FOLLOWING
                quiet = 0.0 if said else quiet + self._poll
                if quiet >= self._heartbeat:
                    quiet = 0.0
                    yield b": here\n\n"
                await self._pause()
        finally:
            self._open -= 1

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._poll):
                await self._closing.wait()
        except TimeoutError:
            return


class _Tail:
    """One connection's view. Who resumes gets what came meanwhile; who begins, what comes from now on."""

    def __init__(
        self, warehouse: Warehouse, freshness: Freshness, project: str, filters: Filters, resume: _Mark | None
    ) -> None:
        self._warehouse = warehouse
        self._freshness = freshness
        self._condition = filters.condition(project)
        self._floor = resume
        self._reached = resume.seen if resume else 0
        self._looked: int | None = 0 if resume else None
        self._shown: OrderedDict[int, None] = OrderedDict()

    @property
    def following(self) -> bool:
        """Whether it has looked once, and knows what is old."""
        return self._looked is not None

    async def look(self) -> AsyncIterator[bytes]:
        """What is new. Raises ApiError; the next look makes up for it."""
        progress = await self._freshness.progress()
        if progress is None or progress.generation == self._looked:
            return
        if self._looked is None:
            self._reached = progress.as_of
            await self._know_the_last_seconds()
            self._looked = progress.generation
            return
        after = max(self._floor or _Mark(0, 0), _Mark(self._reached - _LOOK_BACK, 0))
        for _ in range(_PAGES_A_LOOK):
            rows = await self._page(after, self._looked, progress.generation)
            for row in rows:
                after = _Mark.of(row)
                self._reached = max(self._reached, after.seen)
                if self._is_new(after.id):
                    yield _message(row)
            if len(rows) < _PAGE:
                break
        else:
            yield b"event: skipped\ndata: {}\n\n"
            self._reached = max(self._reached, progress.as_of)
        self._looked = progress.generation

    async def _know_the_last_seconds(self) -> None:
        """What was seen just before is not new, though its trace may change and its row be written again."""
        sql = _JUST_SEEN.format(condition=self._condition.sql)
        bounds = {"seen": self._reached - _LOOK_BACK, "most": _REMEMBERED}
        for row in await self._warehouse.rows(sql, {**self._condition.parameters, **bounds}):
            self._is_new(row["id"])

    async def _page(self, after: _Mark, looked: int, generation: int) -> list[Row]:
        sql = _NEWLY_SEEN.format(columns=EVENT_COLUMNS, condition=self._condition.sql)
        bounds = {"looked": looked, "generation": generation, "seen": after.seen, "id": after.id, "most": _PAGE}
        return await self._warehouse.rows(sql, {**self._condition.parameters, **bounds})

    def _is_new(self, dedupe_id: int) -> bool:
        if dedupe_id in self._shown:
            return False
        self._shown[dedupe_id] = None
        if len(self._shown) > _REMEMBERED:
            self._shown.popitem(last=False)
        return True


def _message(row: Row) -> bytes:
    data = to_json(event(row, holds=row["holds"]))
    return f"id: {row['seen']}-{row['id']:032x}\nevent: feedback\ndata: {data}\n\n".encode()


def _read_id(text: str | None) -> _Mark | None:
    if not text:
        return None
    match = _ID.fullmatch(text)
    if match is None:
        raise bad_parameter("Last-Event-ID", "give back the id of the last event, unchanged")
    return _Mark(int(match[1]), int(match[2], 16))
