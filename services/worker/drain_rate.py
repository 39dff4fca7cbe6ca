"""How fast this worker empties the log, told to the doors: they compute from it when to ask refused clients back."""

from __future__ import annotations

from collections.abc import Callable

from redis.asyncio import Redis

from shared.streams import forget_rate, publish_rate

_SMOOTHING = 0.3
"""Weight of the newest second: batches come in bursts, and a client must not be told by one of them."""


class DrainRate:
    """``settled`` gives how many entries were settled so far; ``wall_clock`` seconds since 1970."""

    def __init__(
        self, redis: Redis, consumer: str, settled: Callable[[], int], wall_clock: Callable[[], float]
    ) -> None:
        self._redis = redis
        self._consumer = consumer
        self._settled = settled
        self._wall_clock = wall_clock
        self._count = settled()
        self._at = wall_clock()
        self._rate = 0.0

    async def tell(self) -> None:
        """Call about once a second."""
        now, count = self._wall_clock(), self._settled()
        elapsed = now - self._at
        if elapsed <= 0:
            return
        self._rate += _SMOOTHING * ((count - self._count) / elapsed - self._rate)
        self._at, self._count = now, count
        await publish_rate(self._redis, self._consumer, self._rate, now)

    async def forget(self) -> None:
        """A worker that leaves drains nothing any more."""
        await forget_rate(self._redis, self._consumer)
