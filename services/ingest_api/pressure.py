"""Backpressure at the door: when the log grows towards what Redis can hold, requests are refused honestly, before Redis
is full. Refusing is the last resort, since the vendors' clients drop what is refused; readiness tells a load balancer
before that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import RedisError

from shared.storage import describe
from shared.streams import Backlog, backlog, drain_rate, memory

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from shared.telemetry import IngestMetrics

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Watermarks:
    """Refusing begins above a limit and ends below ``resume`` times it; readiness ends above ``warn`` times it.

    backlog: entries in the log. memory: share of Redis's maxmemory. age: seconds of the oldest entry. 0 switches off.
    """

    backlog: int
    memory: float
    age: float
    resume: float
    warn: float


@dataclass(frozen=True, slots=True)
class Load:
    """One measurement; each as a share of its limit, 0 where there is none. ``backlog`` in entries."""

    shares: dict[str, float]
    backlog: int

    @property
    def worst(self) -> tuple[str, float]:
        return max(self.shares.items(), key=lambda item: item[1], default=("none", 0.0))


class Pressure:
    """``wall_clock``: seconds since 1970."""

    INTERVAL = 0.5
    SHORTEST_WAIT, LONGEST_WAIT = 1, 120
    """Bounds of Retry-After, in seconds: a client that waits longer is a client that has gone."""

    def __init__(
        self,
        redis: Redis,
        streams: list[str],
        group: str,
        marks: Watermarks,
        metrics: IngestMetrics,
        *,
        wall_clock: Callable[[], float],
    ) -> None:
        self._redis = redis
        self._streams = streams
        self._group = group
        self._marks = marks
        self._metrics = metrics
        self._wall_clock = wall_clock
        self.refusing = False
        self.ready = True
        self.retry_after = self.SHORTEST_WAIT

    async def run(self) -> None:
        """Measures for ever; cancel to stop. While Redis does not answer the last verdict stands."""
        while True:
            try:
                await self.measure()
            except (RedisError, OSError) as error:
                log.debug("pressure_not_measured", reason=describe(error))
            await asyncio.sleep(self.INTERVAL)

    async def measure(self) -> None:
        """One look at Redis, and the verdict on it."""
        state = await backlog(self._redis, self._streams, self._group)
        used, most = await memory(self._redis)
        rate = await drain_rate(self._redis, self._wall_clock())
        self.judge(self.load(state, {"used_memory": used, "maxmemory": most}), rate)

    def load(self, state: Backlog, told: dict[str, Any]) -> Load:
        """How near each limit is."""
        shares = {}
        if self._marks.backlog:
            shares["backlog"] = state.length / self._marks.backlog
        if self._marks.memory and int(told.get("maxmemory", 0)):
            shares["memory"] = int(told["used_memory"]) / int(told["maxmemory"]) / self._marks.memory
        if self._marks.age and state.oldest is not None:
            shares["age"] = max(0.0, self._wall_clock() - state.oldest / 1000) / self._marks.age
        return Load(shares, state.length)

    def judge(self, load: Load, rate: float) -> None:
        """``rate``: entries a second that the workers settle, by their own word."""
        limit, share = load.worst
        was_refusing = self.refusing
        self.refusing = share >= 1.0 or (was_refusing and share >= self._marks.resume)
        self.ready = not self.refusing and share < self._marks.warn
        self._metrics.pressure.set(share)
        self._metrics.refusing.set(1 if self.refusing else 0)
        if self.refusing:
            # Until the backlog has shrunk by as much as lies between where we are and where we resume.
            excess = load.backlog * (1 - self._marks.resume / share)
            wait = excess / rate if rate > 0 else self.LONGEST_WAIT
            self.retry_after = max(self.SHORTEST_WAIT, min(self.LONGEST_WAIT, round(wait)))
        if self.refusing != was_refusing:
            report = log.warning if self.refusing else log.info
            report("intake_refused" if self.refusing else "intake_resumed", limit=limit, share=round(share, 3))
