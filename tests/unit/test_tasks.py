from __future__ import annotations

import asyncio

from shared.tasks import call_off


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
