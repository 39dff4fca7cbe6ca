"""Ending tasks for certain."""

from __future__ import annotations

import asyncio
from typing import Any

_CANCEL_AGAIN = 0.5
"""Seconds."""


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancels tasks until they have ended: a cancellation that comes while the Redis client is busy with its
    connection pool can be lost, and the task goes on.
    """
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=_CANCEL_AGAIN)
    await asyncio.gather(*tasks, return_exceptions=True)
