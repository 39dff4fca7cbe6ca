from __future__ import annotations

import asyncio

from services.ingest_api.relay.queue import Outgoing, RelayQueue, outgoing


def _queue(expired: list[int] | None = None, limit: int = 10_000) -> RelayQueue:
    told = [] if expired is None else expired
    return RelayQueue(limit, 10.0, on_expired=lambda: told.append(1), on_ready=lambda: None)


def _taken(queue: RelayQueue, now: float = 0.0) -> Outgoing:
    request = queue.take(now)
    assert request is not None
    return request


async def test_first_come_first_served() -> None:
    queue = _queue()
    for number in range(5):
        assert queue.offer(outgoing(b"%d" % number, b"", 0.0))
    assert [_taken(queue).head for _ in range(5)] == [b"%d" % number for number in range(5)]


async def test_what_is_on_its_way_counts_against_the_limit_until_it_is_done() -> None:
    queue = _queue(limit=1500)
    request = outgoing(b"", b"x" * 400, 0.0)
    assert queue.offer(request)
    taken = _taken(queue)
    assert not queue.offer(request)
    queue.done(taken)
    assert queue.held_bytes == 0
    assert queue.offer(request)


async def test_empty_requests_are_bounded_too() -> None:
    queue = _queue(limit=10_000)
    assert sum([queue.offer(outgoing(b"", b"", 0.0)) for _ in range(1000)]) < 25


async def test_what_is_too_old_is_passed_over_and_told() -> None:
    expired: list[int] = []
    queue = _queue(expired)
    queue.offer(outgoing(b"old", b"", 0.0))
    queue.offer(outgoing(b"new", b"", 11.0))
    assert _taken(queue, now=11.0).head == b"new"
    assert len(expired) == 1
    assert queue.held == 1


async def test_whoever_takes_is_told_of_each_that_is_ready() -> None:
    told: list[bool] = []
    queue = RelayQueue(10_000, 10.0, on_expired=lambda: None, on_ready=lambda: told.append(queue.ready))
    assert (queue.take(0.0), queue.ready) == (None, False)
    queue.offer(outgoing(b"a", b"", 0.0))
    queue.again(_taken(queue), 0.0)
    assert told == [True]
    await asyncio.sleep(0.01)
    assert told == [True, True]


async def test_a_request_for_another_try_stays_counted_and_comes_again() -> None:
    queue = _queue()
    queue.offer(outgoing(b"a", b"", 0.0))
    queue.again(_taken(queue), 0.0)
    assert queue.held == 1
    assert queue.take(0.0) is None
    while not queue.ready:
        await asyncio.sleep(0)
    again = _taken(queue)
    assert (again.head, again.tries) == (b"a", 1)
    queue.done(again)
    await asyncio.wait_for(queue.emptied(), 1)
