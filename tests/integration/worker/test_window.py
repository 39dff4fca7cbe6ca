"""The window of redeliveries: spares work, forgets the oldest first, and its failure costs nothing but work."""

from __future__ import annotations

import os

import pytest
from redis.asyncio import Redis

from services.worker.dedupe import RedeliveryWindow, WindowLimits
from shared.envelope import Envelope

from .pipeline import Pipeline

pytestmark = pytest.mark.integration

NOW = 1_795_316_670_000_000
HOUR = WindowLimits(seconds=3600, capacity=1000)


def request(received_at: int = NOW, part: int = 0) -> Envelope:
    return Envelope("p", "langwatch", os.urandom(16), received_at, [], part)


def window(redis: Redis, limits: WindowLimits = HOUR, table: str | None = "table-1") -> RedeliveryWindow:
    return RedeliveryWindow(redis, lambda: table, limits)


async def test_only_what_was_marked_is_done(pipeline: Pipeline) -> None:
    marked = [request(), request(NOW - 1_800_000_000), request(part=3)]
    others = [request(), request(part=4)]
    await window(pipeline.redis).mark(marked)
    assert await window(pipeline.redis).done(marked + others) == {envelope.work_id for envelope in marked}


async def test_another_table_starts_with_an_empty_window(pipeline: Pipeline) -> None:
    marked = request()
    await window(pipeline.redis, table="table-1").mark([marked])
    assert await window(pipeline.redis, table="restored").done([marked]) == set()


async def test_while_the_table_is_not_known_the_window_knows_nothing(pipeline: Pipeline) -> None:
    marked = request()
    await window(pipeline.redis, table=None).mark([marked])
    assert await window(pipeline.redis, table=None).done([marked]) == set()
    assert await pipeline.redis.dbsize() == 0


async def test_beyond_its_capacity_it_forgets_the_oldest_first(pipeline: Pipeline) -> None:
    small = window(pipeline.redis, WindowLimits(seconds=3600, capacity=25))
    hours = [[request(NOW + bucket * 300_000_000) for _ in range(10)] for bucket in range(4)]
    for marked in hours:
        await small.mark(marked)
    remembered = [len(await small.done(marked)) for marked in hours]
    assert remembered == [0, 0, 10, 10]


async def test_its_capacity_holds_within_one_bucket_too(pipeline: Pipeline) -> None:
    small = window(pipeline.redis, WindowLimits(seconds=3600, capacity=25))
    for _ in range(20):
        await small.mark([request() for _ in range(10)])
    sizes = [await pipeline.redis.scard(key) async for key in pipeline.redis.scan_iter("plaudit:{done}:table-1:[0-9]*")]
    assert sum(sizes) <= 25


async def test_all_of_it_expires(pipeline: Pipeline) -> None:
    await window(pipeline.redis).mark([request()])
    lifetimes = [await pipeline.redis.ttl(key) async for key in pipeline.redis.scan_iter("plaudit:{done}:*")]
    assert len(lifetimes) == 2
    assert all(0 < lifetime <= 3600 for lifetime in lifetimes)


@pytest.fixture
def nowhere() -> Redis:
    return Redis(host="127.0.0.1", port=1, socket_connect_timeout=1)


async def test_a_window_that_cannot_be_reached_is_done_without(nowhere: Redis) -> None:
    assert await window(nowhere).done([request()]) == set()
    await window(nowhere).mark([request()])
