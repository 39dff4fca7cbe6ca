"""A limit on the requests of one project: a token bucket, in this process."""

from __future__ import annotations

import math
from collections.abc import Callable

from .replies import TOO_MANY_REQUESTS, RefusedError


class RateLimiter:
    """``rate``: requests a second; 0 lets all through. ``burst``: seconds' worth that may be saved up.

    Memory is bounded by the number of projects, which only the operator adds to.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._capacity = max(1.0, rate * burst)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def admit(self, project_id: str) -> None:
        """Raises RefusedError with the seconds after which one more is welcome."""
        if not self._rate:
            return
        now = self._clock()
        tokens, at = self._buckets.get(project_id, (self._capacity, now))
        tokens = min(self._capacity, tokens + (now - at) * self._rate)
        if tokens < 1:
            self._buckets[project_id] = (tokens, now)
            raise RefusedError(TOO_MANY_REQUESTS, retry_after=max(1, math.ceil((1 - tokens) / self._rate)))
        self._buckets[project_id] = (tokens - 1, now)
