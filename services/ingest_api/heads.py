"""Connections that never say what they want: uvicorn times idle ones between requests, but neither the first request of
a connection nor one that stops in the middle of its head.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Protocol

import structlog

log = structlog.get_logger()

_SWEEP_SECONDS = 1.0


class _Cycle(Protocol):
    @property
    def response_complete(self) -> bool: ...


class _Transport(Protocol):
    def abort(self) -> None: ...


class Connection(Protocol):
    """What is looked at of uvicorn's: the latest request (None before the first), the timer between requests."""

    @property
    def cycle(self) -> _Cycle | None: ...

    @property
    def timeout_keep_alive_task(self) -> object | None: ...

    @property
    def transport(self) -> _Transport: ...


class HeadWatch:
    """Closes connections on which a request's head has been due for ``timeout`` seconds. ``clock``: monotonic seconds.

    A sweep costs the requests nothing, where a timer for each would.
    """

    def __init__(self, connections: Collection[Connection], timeout: float, clock: Callable[[], float]) -> None:
        self._connections = connections
        self._timeout = timeout
        self._clock = clock
        self._waiting: dict[Connection, tuple[_Cycle | None, float]] = {}

    def sweep(self) -> int:
        """Returns how many it closed."""
        now = self._clock()
        waiting: dict[Connection, tuple[_Cycle | None, float]] = {}
        late = 0
        for connection in list(self._connections):
            cycle = connection.cycle
            if connection.timeout_keep_alive_task is not None or (cycle is not None and not cycle.response_complete):
                continue
            before = self._waiting.get(connection)
            since = before[1] if before is not None and before[0] is cycle else now
            if now - since < self._timeout:
                waiting[connection] = (cycle, since)
            else:
                late += 1
                connection.transport.abort()
        self._waiting = waiting
        return late

    async def run(self) -> None:
        """Sweeps for ever; cancel to stop."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            if late := self.sweep():
                log.info("connections_closed", connections=late, reason="no request came")
