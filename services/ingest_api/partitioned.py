"""Appends to a log whose partitions lie on several servers: a publisher for each, so that one that is away takes only
its own share along.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

from shared.envelope import Envelope

from .publisher import Publisher


class PartitionedPublisher:
    """An Appender over one publisher a partition. Start ``run`` before the first append."""

    def __init__(self, publishers: Sequence[Publisher]) -> None:
        self._publishers = publishers

    def append(self, envelopes: Sequence[Envelope]) -> Awaitable[None]:
        """See Appender. Entries of one request go to one partition, which its id alone decides."""
        number = int.from_bytes(envelopes[0].request_id[:4], "big") % len(self._publishers)
        return self._publishers[number].append(envelopes)

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn, at all partitions."""
        return sum(publisher.waiting for publisher in self._publishers)

    async def run(self) -> None:
        """Carries appends for ever; cancel to stop."""
        async with asyncio.TaskGroup() as running:
            for publisher in self._publishers:
                running.create_task(publisher.run())
