"""Entries that may be killing workers: delivered too often, so processed alone, and counted while they are.

Only an entry that was alone in a worker's hands twice when that worker died becomes a dead letter. The count stands in
Redis before the attempt and is taken back after it, also when the attempt failed because ClickHouse is away.
"""

from __future__ import annotations

from redis.asyncio import Redis

from .entries import Entry

KEY = "plaudit:{suspects}"


class Suspects:
    """``deaths``: attempts alone that nobody survived before an entry is given up."""

    def __init__(self, redis: Redis, deaths: int = 2) -> None:
        self._redis = redis
        self._deaths = deaths

    async def convicted(self, entry: Entry) -> bool:
        """Counts one more attempt alone; True if the earlier ones were not survived, so that it must not be made."""
        field = f"{entry.stream}:{entry.entry_id.decode()}"
        return int(await self._redis.hincrby(KEY, field, 1)) > self._deaths

    async def cleared(self, entry: Entry) -> None:
        """The attempt ended, one way or the other, and the worker lives."""
        await self._redis.hdel(KEY, f"{entry.stream}:{entry.entry_id.decode()}")
