"""Tells the other services how the relays fare, for the line of the page."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog
from redis.exceptions import RedisError

from shared.relay_state import TELL_EVERY, RelayReport, forget, tell
from shared.storage import describe

from .sender import Sender

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = structlog.get_logger()


class RelayTeller:
    """``door``: names this process. ``wall_clock``: seconds since 1970."""

    def __init__(self, redis: Redis, door: str, senders: Sequence[Sender], wall_clock: Callable[[], float]) -> None:
        self._redis = redis
        self._door = door
        self._senders = senders
        self._wall_clock = wall_clock

    async def run(self) -> None:
        """Tells for ever; cancel to stop, and nothing is told of this process any more."""
        try:
            while True:
                await self._tell()
                await asyncio.sleep(TELL_EVERY)
        finally:
            with contextlib.suppress(RedisError, OSError):
                await forget(self._redis, self._door)

    async def _tell(self) -> None:
        reports = []
        for sender in self._senders:
            state = sender.state
            reports.append(RelayReport(sender.source, state.queued, state.relayed, state.dropped, state.open))
        try:
            await tell(self._redis, self._door, reports, self._wall_clock())
        except (RedisError, OSError) as error:
            log.debug("relays_not_told", reason=describe(error))
