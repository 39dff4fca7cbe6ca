"""Ending tasks for certain, and threads that nobody waits for."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


async def call_off(tasks: Iterable[asyncio.Future[Any]], *, patience: float = 0.5) -> None:
    """Cancels, and returns when all have ended, however they ended. ``patience``: seconds that one may take to end.

    Asks again and again: the Redis client sends with ``asyncio.wait_for``, which in Python 3.11 swallows a cancellation
    that arrives as the sending completes. A task that was asked once would then go on for ever.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=patience)
        for task in done:
            # Looked at, so that nobody complains that it was not.
            if not task.cancelled():
                task.exception()


async def in_thread_of_its_own(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """``asyncio.to_thread``, but the end of the process does not wait for it: for what may hang longer than a process
    has to end, and may be cut off anywhere. Cancelled, it goes on unheard.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[R] = loop.create_future()
    context = contextvars.copy_context()

    def conclude(tell: Callable[[Any], None], outcome: object) -> None:
        if not done.done():
            tell(outcome)

    def run() -> None:
        tell: Callable[[Any], None]
        outcome: object
        try:
            tell, outcome = done.set_result, context.run(work, *args, **kwargs)
        except BaseException as error:  # noqa: BLE001 -- it is raised where it is waited for
            tell, outcome = done.set_exception, error
        # The loop is closed where the process has ended meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(conclude, tell, outcome)

    threading.Thread(target=run, daemon=True).start()
    return await done
