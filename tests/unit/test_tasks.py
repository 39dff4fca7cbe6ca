from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from shared.tasks import call_off, in_thread_of_its_own


async def test_a_task_that_swallows_a_cancellation_ends_all_the_same() -> None:
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed > 1:
                    raise

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await call_off([task])
    assert task.cancelled()
    assert swallowed == 2


async def test_tasks_that_ended_or_failed_are_no_trouble() -> None:
    async def fail() -> None:
        raise ValueError("on its own")

    tasks = [asyncio.create_task(asyncio.sleep(0)), asyncio.create_task(fail())]
    await asyncio.sleep(0.01)
    await call_off(tasks)
    await call_off([])
    assert all(task.done() for task in tasks)


_NAME = contextvars.ContextVar("_NAME", default="nobody")


async def test_a_thread_of_its_own_gives_what_its_work_gives_in_the_context_of_who_waits() -> None:
    _NAME.set("ada")
    assert await in_thread_of_its_own(lambda greeting: f"{greeting} {_NAME.get()}", "hello") == "hello ada"
    with pytest.raises(ValueError, match="its own"):
        await in_thread_of_its_own(int, "its own")


async def test_a_thread_that_hangs_is_given_up_and_goes_on_unheard() -> None:
    released, ended = threading.Event(), threading.Event()

    def hang() -> None:
        released.wait()
        ended.set()

    waiting = asyncio.create_task(in_thread_of_its_own(hang))
    await asyncio.sleep(0.01)
    await call_off([waiting])
    assert waiting.cancelled()
    released.set()
    assert await asyncio.to_thread(ended.wait, 5)
