"""What waits for the vendor: bounded in bytes and in age, what is on its way included."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

_OVERHEAD = 512
"""Bytes that a request costs besides its own, roughly: many empty ones must be bounded as well."""


class Outgoing(NamedTuple):
    """One request as it goes out. since: when Plaudit had answered it, in monotonic seconds. size: bytes that it takes
    while it is held. tries: before this one.
    """

    head: bytes
    body: bytes
    since: float
    size: int
    tries: int = 0


def outgoing(head: bytes, body: bytes, since: float) -> Outgoing:
    """A request that was not tried yet."""
    # Made as a tuple of the class: calling the class costs twice as much.
    return tuple.__new__(Outgoing, (head, body, since, len(head) + len(body) + _OVERHEAD, 0))


class RelayQueue:
    """First come, first served. What is too much is refused when it comes; what became too old is dropped when its
    turn comes: ``on_expired`` is told of each of these. ``on_ready`` is told whenever there is one more to take.
    limit: bytes. age: seconds. Times are monotonic.
    """

    def __init__(
        self,
        limit: int,
        age: float,
        *,
        on_expired: Callable[[], None],
        on_ready: Callable[[], None],
    ) -> None:
        self._limit = limit
        self._age = age
        self._on_expired = on_expired
        self._on_ready = on_ready
        self._ready: deque[Outgoing] = deque()
        self._empty = asyncio.Event()
        self._empty.set()
        self.held_bytes = 0
        self.held = 0

    def offer(self, request: Outgoing) -> bool:
        """Whether it fits."""
        held = self.held_bytes + request.size
        if held > self._limit:
            return False
        self.held_bytes = held
        self.held += 1
        self._empty.clear()
        self._put(request)
        return True

    @property
    def ready(self) -> bool:
        """Whether there may be one to take."""
        return bool(self._ready)

    def take(self, now: float) -> Outgoing | None:
        """The next one, if there is one. Whoever takes it says ``done`` or ``again`` at last."""
        while self._ready:
            request = self._ready.popleft()
            if now - request.since <= self._age:
                return request
            self.done(request)
            self._on_expired()
        return None

    def done(self, request: Outgoing) -> None:
        """It is no longer held, whatever became of it."""
        self.held_bytes -= request.size
        self.held -= 1
        if not self.held:
            self._empty.set()

    async def emptied(self) -> None:
        """Returns when nothing is held any more."""
        await self._empty.wait()

    def again(self, request: Outgoing, after: float) -> None:
        """Puts it back for one more try in ``after`` seconds; it stays counted meanwhile."""
        asyncio.get_running_loop().call_later(after, self._put, request._replace(tries=request.tries + 1))

    def _put(self, request: Outgoing) -> None:
        self._ready.append(request)
        self._on_ready()
