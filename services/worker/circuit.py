"""Whether inserts get through: open while they fail and are retried. Reading pauses by itself, since flights are few;
this is what alarms and tells others.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from .faults import Fault

if TYPE_CHECKING:
    from shared.telemetry import WorkerMetrics

log = structlog.get_logger()


class Circuit:
    """Open while any of the writes under way is in trouble, so that one that succeeds does not hush one that hangs."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics
        self._troubles: dict[object, Fault] = {}
        self._opened = asyncio.Event()

    @property
    def fault(self) -> Fault | None:
        """What keeps it open: of the write that is longest in trouble. None when closed."""
        return next(iter(self._troubles.values()), None)

    def report(self, write: object, fault: Fault | None) -> None:
        """Every failed attempt of a write, and with None its success or end."""
        before = self.fault
        if fault is None:
            self._troubles.pop(write, None)
        else:
            self._troubles[write] = fault
        if self.fault is before:
            return
        self._metrics.circuit_open.set(0 if self.fault is None else 1)
        if self.fault is None:
            self._opened.clear()
            log.info("circuit_closed")
        else:
            self._opened.set()
            log.warning("circuit_open", fault=self.fault)

    async def wait_opened(self) -> None:
        await self._opened.wait()
