from __future__ import annotations

import asyncio

from services.ingest_api.relay.queue import RelayQueue, outgoing


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _queue(clock: Clock, expired: list[int], limit: int = 10_000) -> RelayQueue:
    return RelayQueue(limit, 10.0, clock=clock, on_expired=lambda: expired.append(1))


async def test_first_come_first_served() -> None:
    queue = _queue(Clock(), [])
    for number in range(5):
        assert queue.offer(outgoing(b"%d" % number, b"", 0.0))
    assert [(await queue.take()).head for _ in range(5)] == [b"%d" % number for number in range(5)]


async def test_what_is_on_its_way_counts_against_the_limit_until_it_is_done() -> None:
    queue = _queue(Clock(), [], limit=1500)
    request = outgoing(b"", b"x" * 400, 0.0)
    assert queue.offer(request)
    taken = await queue.take()
    assert not queue.offer(request)
    queue.done(taken)
    assert queue.held_bytes == 0
    assert queue.offer(request)


async def test_empty_requests_are_bounded_too() -> None:
    queue = _queue(Clock(), [], limit=10_000)
    assert sum([queue.offer(outgoing(b"", b"", 0.0)) for _ in range(1000)]) < 25


async def test_what_is_too_old_is_passed_over_and_told() -> None:
    clock, expired = Clock(), list[int]()
    queue = _queue(clock, expired)
    queue.offer(outgoing(b"old", b"", 0.0))
    clock.now = 11.0
    queue.offer(outgoing(b"new", b"", 11.0))
    assert (await queue.take()).head == b"new"
    assert len(expired) == 1
    assert queue.held == 1


async def test_a_taker_that_waits_gets_what_comes_and_one_that_left_loses_nothing() -> None:
    queue = _queue(Clock(), [])
    left = asyncio.create_task(queue.take())
    stays = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    queue.offer(outgoing(b"a", b"", 0.0))
    assert (await asyncio.wait_for(stays, 1)).head == b"a"


async def test_a_request_for_another_try_stays_counted_and_comes_again() -> None:
    queue = _queue(Clock(), [])
    queue.offer(outgoing(b"a", b"", 0.0))
    queue.again(await queue.take(), 0.0)
    assert queue.held == 1
    again = await asyncio.wait_for(queue.take(), 1)
    assert (again.head, again.tries) == (b"a", 1)
    queue.done(again)
    await asyncio.wait_for(queue.emptied(), 1)
