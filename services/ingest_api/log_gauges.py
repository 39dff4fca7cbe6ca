"""The state of the log as figures: what operators are alarmed by and what the number of workers follows.

The door tells them, not the workers: it is there when no worker is. Every door tells the same, so a reader takes any
one of them, or the greatest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog
from redis.exceptions import RedisError

from shared.dead_letters import DeadLetterBox, Size
from shared.storage import describe
from shared.streams import backlog, memory

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from shared.telemetry import IngestMetrics

log = structlog.get_logger()

_EVERY = 2.0
"""Seconds. Well below the interval of any scrape; three cheap commands."""


class LogGauges:
    """``room``: of the dead letters. ``wall_clock``: seconds since 1970."""

    def __init__(
        self,
        redis: Redis,
        streams: Sequence[str],
        group: str,
        room: Size,
        metrics: IngestMetrics,
        *,
        wall_clock: Callable[[], float],
    ) -> None:
        self._redis = redis
        self._streams = list(streams)
        self._group = group
        self._room = room
        self._metrics = metrics
        self._wall_clock = wall_clock

    async def run(self) -> None:
        """Measures for ever; cancel to stop. While Redis does not answer, ``redis_up`` is 0 and the rest stands as it
        was: a number of workers that follows it must not change because nothing is known.
        """
        while True:
            try:
                await self.measure()
            except (RedisError, OSError) as error:
                self._metrics.redis_up.set(0)
                log.debug("log_not_measured", reason=describe(error))
            await asyncio.sleep(_EVERY)

    async def measure(self) -> None:
        """One look. Raises RedisError or OSError."""
        state = await backlog(self._redis, self._streams, self._group)
        letters = await DeadLetterBox(self._redis).size()
        used, most = await memory(self._redis)
        metrics = self._metrics
        metrics.backlog_entries.set(state.length)
        metrics.backlog_pending.set(state.pending)
        metrics.backlog_oldest.set(
            max(0.0, self._wall_clock() - state.oldest / 1000) if state.oldest is not None else 0.0
        )
        metrics.dead_letters.set(letters.letters)
        metrics.dead_letters_bytes.set(letters.bytes)
        metrics.dead_letters_room.set(letters.share_of(self._room))
        metrics.redis_memory.set(used)
        metrics.redis_max_memory.set(most)
        metrics.redis_up.set(1)
