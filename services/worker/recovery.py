"""Getting back what other workers left: claiming idle entries, renewing our own, reaping consumers that are gone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from .entries import Entry, Holdings, read_entry
from .read_size import ReadSize

log = structlog.get_logger()

_REAP = """
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local info = {}
    for i = 1, #consumer, 2 do info[consumer[i]] = consumer[i + 1] end
    if info['name'] == ARGV[2] and info['pending'] == 0 and info['idle'] >= tonumber(ARGV[3]) then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
        return 1
    end
end
return 0
"""
"""Looks and removes in one step: deleting a consumer that has pending entries would orphan them."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """``deliveries``: how often the entry was handed out, this time included."""

    entry: Entry
    deliveries: int


@dataclass(frozen=True, slots=True)
class Membership:
    """Which consumer of which group this worker is, on which streams."""

    streams: list[str]
    group: str
    consumer: str


class Recovery:
    """One pass of each duty at a time; the caller decides when. ``claim_idle`` in seconds."""

    def __init__(
        self,
        redis: Redis,
        member: Membership,
        holdings: Holdings,
        read_size: ReadSize,
        *,
        claim_idle: float,
        claim_count: int,
    ) -> None:
        self._redis = redis
        self._member = member
        self._holdings = holdings
        self._read_size = read_size
        self._claim_idle = int(claim_idle * 1000)
        self._count = claim_count
        # Kept between passes: a scan that always starts at 0 never gets past the first entries it may not take.
        self._cursors: dict[str, bytes | str] = dict.fromkeys(member.streams, "0-0")

    async def claim(self, take: Callable[[list[Claimed]], Awaitable[None]]) -> int:
        """Claims what has been idle, to the end of each pending list; returns how many entries that were."""
        total = 0
        for stream in self._member.streams:
            while True:
                claimed = await self._claim_some(stream)
                total += len(claimed)
                if claimed:
                    log.info("entries_claimed", stream=stream, entries=len(claimed))
                    await take(claimed)
                if self._cursors[stream] in (b"0-0", "0-0"):
                    break
        return total

    async def _claim_some(self, stream: str) -> list[Claimed]:
        member = self._member
        count = self._read_size.count(self._count)
        cursor, found, *_ = await self._redis.xautoclaim(
            stream,
            member.group,
            member.consumer,
            min_idle_time=self._claim_idle,
            start_id=self._cursors[stream],
            count=count,
        )
        self._cursors[stream] = cursor
        self._read_size.learn(len(found), _bytes_of(found))
        entries = self._holdings.take(read_entry(stream, entry_id, fields) for entry_id, fields in found)
        if not entries:
            return []
        try:
            # One claim passes over ten times its count at most, so this reaches to its last entry.
            deliveries = await self._deliveries(stream, entries, 10 * count)
        except BaseException:
            # In hand and in no batch, they would be renewed for ever and never done.
            self._holdings.release(entries)
            raise
        return [Claimed(entry, deliveries.get(entry.entry_id, 1)) for entry in entries]

    async def _deliveries(self, stream: str, entries: list[Entry], count: int) -> dict[bytes, int]:
        pending: Any = await self._redis.xpending_range(
            stream,
            self._member.group,
            min=entries[0].entry_id,
            max=entries[-1].entry_id,
            count=count,
            consumername=self._member.consumer,
        )
        return {item["message_id"]: item["times_delivered"] for item in pending}

    async def renew(self, *, forgive: bool) -> int:
        """Tells the group that what we hold is still being worked on; returns how many entries that were.

        Not for entries that somebody else has taken meanwhile (we were suspended for longer than the idle time): those
        are fresh in the other's hands, and min_idle_time leaves them there. JUSTID counts no delivery; ``forgive`` also
        takes back those that were counted: what waits for ClickHouse is not to blame for a worker that dies meanwhile.
        """
        older_than = self._claim_idle / 3
        renewed = 0
        for stream, ids in list(self._holdings.due(older_than / 1000)):
            for start in range(0, len(ids), self._count):
                chunk: list[Any] = list(ids[start : start + self._count])
                await self._redis.xclaim(
                    stream,
                    self._member.group,
                    self._member.consumer,
                    min_idle_time=int(older_than / 2),
                    message_ids=chunk,
                    retrycount=0 if forgive else None,
                    justid=True,
                )
                self._holdings.renewed(stream, chunk)
                renewed += len(chunk)
        return renewed

    async def own_pending(self) -> AsyncIterator[list[Entry]]:
        """Read by read, what Redis says was handed to us and we do not hold: replies that were lost, on the way or in
        a stop.
        """
        member = self._member
        for stream in member.streams:
            cursor: bytes | str = "0"
            while True:
                count = self._read_size.count(self._count)
                reply: Any = await self._redis.xreadgroup(member.group, member.consumer, {stream: cursor}, count=count)
                found = reply[0][1] if reply else []
                if not found:
                    break
                cursor = found[-1][0]
                # Fields are empty where the entry itself is gone from the stream.
                there = [(entry_id, fields) for entry_id, fields in found if fields]
                self._read_size.learn(len(there), _bytes_of(there))
                if entries := self._holdings.take(read_entry(stream, entry_id, fields) for entry_id, fields in there):
                    yield entries

    async def reap(self, idle: float) -> int:
        """Removes other consumers with nothing pending that have been silent for ``idle`` seconds."""
        removed = 0
        for stream in self._member.streams:
            for consumer in await self._redis.xinfo_consumers(stream, self._member.group):
                name = consumer["name"]
                if name.decode() == self._member.consumer or consumer["idle"] < idle * 1000 or consumer["pending"]:
                    continue
                removed += int(await self._redis.eval(_REAP, 1, stream, self._member.group, name, int(idle * 1000)))
        if removed:
            log.info("consumers_reaped", consumers=removed)
        return removed

    async def leave(self) -> None:
        """Removes ourselves from the group where nothing is pending for us."""
        for stream in self._member.streams:
            try:
                await self._redis.eval(_REAP, 1, stream, self._member.group, self._member.consumer, 0)
            except ResponseError as error:
                if "NOGROUP" not in str(error) and "no such key" not in str(error):
                    raise


def _bytes_of(entries: list[tuple[bytes, dict[bytes, bytes]]]) -> int:
    return sum(len(value) for _, fields in entries for value in fields.values())
