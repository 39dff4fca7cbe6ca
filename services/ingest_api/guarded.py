"""The way into the log, closed while the log is too full or cannot keep the promise that is asked of it."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from shared.envelope import Envelope
from shared.errors import StoreUnavailableError

from .durability import DurabilityWatch
from .pressure import Pressure
from .publisher import Appender


class GuardedAppender:
    """An Appender in front of another. With a spool behind the door, what is refused here goes there."""

    def __init__(self, appender: Appender, pressure: Pressure, durability: DurabilityWatch) -> None:
        self._appender = appender
        self._pressure = pressure
        self._durability = durability

    def append(self, envelopes: Sequence[Envelope]) -> Awaitable[None]:
        """See Appender."""
        if self._pressure.refusing:
            raise StoreUnavailableError("redis", "the backlog has reached its limit")
        if self._durability.broken is not None:
            raise StoreUnavailableError("redis", self._durability.broken)
        return self._appender.append(envelopes)
