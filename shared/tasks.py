"""Ending tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

_ASK_AGAIN = 0.5


async def call_off(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancels, and returns when all have ended, however they ended.

    Asks again and again: the Redis client sends with ``asyncio.wait_for``, which in Python 3.11 swallows a cancellation
    that arrives as the sending completes. A task that was asked once would then go on for ever.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=_ASK_AGAIN)
        for task in done:
            # Looked at, so that nobody complains that it was not.
            if not task.cancelled():
                task.exception()
