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
    """``fault`` is what keeps it open, None when closed."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics
        self.fault: Fault | None = None
        self._opened = asyncio.Event()
        self._closed = asyncio.Event()
        self._closed.set()

    def report(self, fault: Fault | None) -> None:
        """Every failed attempt, and with None every success."""
        if fault == self.fault:
            return
        self.fault = fault
        self._metrics.circuit_open.set(0 if fault is None else 1)
        if fault is None:
            self._opened.clear()
            self._closed.set()
            log.info("circuit_closed")
        else:
            self._closed.clear()
            self._opened.set()
            log.warning("circuit_open", fault=fault)

    async def wait_closed(self) -> None:
        await self._closed.wait()

    async def wait_opened(self) -> None:
        await self._opened.wait()
