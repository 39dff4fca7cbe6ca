"""The live tail: what comes in is told once, in the order of coming in, and a reader that was cut off misses nothing."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from services.analytics.errors import ApiError
from services.analytics.filters import Filters, VoteFilter
from services.analytics.freshness import Freshness
from services.analytics.main import connect_async
from services.analytics.period import EPOCH, Period
from services.analytics.tail import FOLLOWING, Tails
from services.analytics.warehouse import Warehouse
from shared.settings import RedisSettings
from shared.streams import connect as connect_redis

from .conftest import OTHER, PROJECT, Store

pytestmark = pytest.mark.integration

EVER = Filters(Period(EPOCH, datetime(2200, 1, 1, tzinfo=UTC)))


class Message(NamedTuple):
    id: str
    data: dict[str, Any]


class Viewer:
    """Reads a tail in the background; ``next`` waits for the next event."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._following = asyncio.Event()
        self._task = asyncio.create_task(self._read(stream))

    async def _read(self, stream: AsyncIterator[bytes]) -> None:
        async for piece in stream:
            if piece == FOLLOWING:
                self._following.set()
            fields = dict(line.split(": ", 1) for line in piece.decode().splitlines() if ": " in line)
            if fields.get("event") == "feedback":
                self._messages.put_nowait(Message(fields["id"], json.loads(fields["data"])))

    async def follows(self) -> None:
        """Returns when whatever comes in is told."""
        async with asyncio.timeout(15):
            await self._following.wait()

    async def next(self) -> Message:
        async with asyncio.timeout(15):
            return await self._messages.get()

    async def is_quiet(self, polls: float = 0.3) -> bool:
        await asyncio.sleep(polls)
        return self._messages.empty()

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest_asyncio.fixture
async def tails(store: Store, redis_url: str) -> AsyncIterator[Tails]:
    redis = connect_redis(RedisSettings.model_validate({"redis_url": redis_url}))
    warehouse = Warehouse(lambda: connect_async(store.settings, 20.0), concurrency=4, timeout=20.0, memory=1 << 30)
    freshness = Freshness(redis, warehouse, clock=time.monotonic, trusted_for=0.0)
    tails = Tails(warehouse, freshness, most=3, poll=0.05, heartbeat=0.2)
    bring_up(store)
    yield tails
    tails.close()
    await warehouse.close()
    await redis.aclose()


def bring_up(store: Store) -> None:
    """Nobody tells of progress in Redis here, so it is read from where it is saved."""
    store.refresh()
    store.refresher.save()


async def watch(tails: Tails, filters: Filters = EVER, last: str | None = None, project: str = PROJECT) -> Viewer:
    viewer = Viewer(tails.follow(project, filters, last))
    await viewer.follows()
    return viewer


async def test_what_comes_in_is_told_once(store: Store, tails: Tails) -> None:
    store.langwatch("before", 1, time.time() - 100)
    bring_up(store)
    viewer = await watch(tails)
    store.langwatch("t1", 1, time.time() - 9 * 86400)
    bring_up(store)
    told = await viewer.next()
    assert (told.data["trace_id"], told.data["vote"]) == ("t1", 1.0), "an old event that comes in now is new"
    store.insert(
        "langwatch",
        json.loads(
            json.dumps(
                {
                    "trace_id": "t1",
                    "event_type": "thumbs_up_down",
                    "metrics": {"vote": 1},
                    "timestamp": told_millis(told),
                }
            )
        ),
        time.time(),
    )
    bring_up(store)
    assert await viewer.is_quiet(), "a retransmission is nothing new"
    store.langwatch("t1", -1, time.time())
    bring_up(store)
    assert (await viewer.next()).data["vote"] == -1
    await viewer.leave()


def told_millis(message: Message) -> int:
    return round(datetime.fromisoformat(message.data["timestamp"]).timestamp() * 1000)


async def test_filters_and_projects_hold(store: Store, tails: Tails) -> None:
    ours = await watch(tails, replace(EVER, vote=VoteFilter.DOWN))
    theirs = await watch(tails, project=OTHER)
    store.langwatch("good", 1, time.time())
    store.langwatch("bad", -1, time.time())
    bring_up(store)
    assert (await ours.next()).data["trace_id"] == "bad"
    assert await ours.is_quiet()
    assert await theirs.is_quiet(0)
    await ours.leave()
    await theirs.leave()


async def test_who_resumes_gets_what_came_meanwhile(store: Store, tails: Tails) -> None:
    viewer = await watch(tails)
    store.langwatch("seen", 1, time.time())
    bring_up(store)
    last = (await viewer.next()).id
    await viewer.leave()
    for number in range(450):
        store.langwatch(f"missed{number}", 1, time.time() - number)
    bring_up(store)
    again = await watch(tails, last=last)
    missed = [(await again.next()).data["trace_id"] for _ in range(450)]
    assert sorted(missed) == sorted(f"missed{number}" for number in range(450))
    assert await again.is_quiet()
    await again.leave()


async def test_one_tail_too_many_is_refused_until_another_ends(store: Store, tails: Tails) -> None:
    viewers = [await watch(tails) for _ in range(3)]
    with pytest.raises(ApiError) as refused:
        tails.follow(PROJECT, EVER, None)
    assert (refused.value.status, refused.value.retry_after) == (503, 10)
    await viewers[0].leave()
    await (await watch(tails)).leave()
    for viewer in viewers[1:]:
        await viewer.leave()


async def test_signs_of_life_come_while_nothing_happens(store: Store, tails: Tails) -> None:
    async with asyncio.timeout(10):
        async for piece in tails.follow(PROJECT, EVER, None):
            if piece == b": here\n\n":
                return
