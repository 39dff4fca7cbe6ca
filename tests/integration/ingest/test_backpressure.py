"""Backpressure and durability against a real server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from services.ingest_api.durability import Durability, DurabilityError, DurabilityWatch
from services.ingest_api.guarded import GuardedAppender
from services.ingest_api.pressure import Pressure, Watermarks
from services.ingest_api.publisher import Limits, Publisher
from services.standalone.embedded import embedded_valkey
from services.worker.drain_rate import DrainRate
from shared.envelope import Envelope, RawEvent
from shared.errors import StoreUnavailableError
from shared.streams import ensure_group, settle
from shared.telemetry import IngestMetrics

pytestmark = pytest.mark.integration

STREAM, GROUP = "plaudit:feedback:{0}", "plaudit-workers"
LIMITS = Limits(batch=500, queue=20_000, queue_bytes=1 << 26, timeout=5, lanes=1)


def request(number: int, size: int = 2) -> list[Envelope]:
    return [Envelope("p", "langwatch", number.to_bytes(16, "big"), number, [RawEvent(0, b"x" * size)])]


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    redis = Redis.from_url(redis_url, protocol=2)
    await ensure_group(redis, STREAM, GROUP)
    yield redis
    await redis.aclose()


def measure(redis: Redis, marks: Watermarks) -> Pressure:
    return Pressure(redis, [STREAM], GROUP, marks, IngestMetrics(), wall_clock=time.time)


async def append(redis: Redis, numbers: range, pressure: Pressure | None = None, **how: object) -> None:
    durability = how.pop("durability", Durability())
    assert isinstance(durability, Durability)
    publisher = Publisher(redis, [STREAM], LIMITS, IngestMetrics(), clock=time.monotonic, durability=durability)
    appender = GuardedAppender(publisher, pressure, DurabilityWatch(redis, durability)) if pressure else publisher
    running = asyncio.create_task(publisher.run())
    await asyncio.sleep(0)
    try:
        await asyncio.gather(*(appender.append(request(number)) for number in numbers))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_the_door_refuses_at_the_limit_and_takes_again_when_workers_have_drained(redis: Redis) -> None:
    pressure = measure(redis, Watermarks(backlog=100, memory=0, age=0, resume=0.5, warn=0.75))
    await append(redis, range(80), pressure)
    await pressure.measure()
    assert (pressure.refusing, pressure.ready) == (False, False)
    await append(redis, range(80, 100), pressure)
    await pressure.measure()
    with pytest.raises(StoreUnavailableError, match="backlog"):
        await append(redis, range(100, 101), pressure)
    reply: Any = await redis.xreadgroup(GROUP, "w", {STREAM: ">"}, count=60)
    await settle(redis, STREAM, GROUP, [entry_id for entry_id, _ in reply[0][1]])
    await pressure.measure()
    await append(redis, range(100, 101), pressure)


async def test_retry_after_follows_the_rate_that_workers_tell(redis: Redis) -> None:
    await append(redis, range(1000))
    clock, settled = [time.time()], [0]
    workers = [DrainRate(redis, f"w{n}", lambda: settled[0], lambda: clock[0]) for n in range(2)]
    for _ in range(60):
        clock[0] += 1
        settled[0] += 10
        for worker in workers:
            await worker.tell()
    marks = Watermarks(backlog=500, memory=0, age=0, resume=0.8, warn=0.9)
    pressure = Pressure(redis, [STREAM], GROUP, marks, IngestMetrics(), wall_clock=lambda: clock[0])
    await pressure.measure()
    assert pressure.refusing
    assert pressure.retry_after == 30  # 600 entries above the mark to resume at, 2 workers, 10 a second each
    await workers[0].forget()
    await pressure.measure()
    assert pressure.retry_after == 60


async def test_fsynced_starts_only_where_redis_syncs_every_append(redis: Redis) -> None:
    fsynced = Durability("fsynced")
    await redis.config_set("appendfsync", "everysec")
    with pytest.raises(DurabilityError, match="appendfsync always"):
        await fsynced.check(redis)
    await redis.config_set("appendfsync", "always")
    await fsynced.check(redis)
    await redis.config_set("appendfsync", "everysec")


async def test_replicated_needs_a_replica_and_refuses_when_it_is_gone(tmp_path: Path) -> None:
    replicated = Durability("replicated", replicas=1, timeout=0.3)
    with (
        embedded_valkey(tmp_path / "main") as (url, _),
        embedded_valkey(tmp_path / "replica") as (replica_url, replica),
    ):
        main, follower = Redis.from_url(url, protocol=2), Redis.from_url(replica_url, protocol=2)
        with pytest.raises(DurabilityError, match="0 replicas connected"):
            await replicated.check(main)
        await follower.config_set("masterauth", str(main.connection_pool.connection_kwargs["password"]))
        await follower.replicaof("127.0.0.1", str(main.connection_pool.connection_kwargs["port"]))
        async with asyncio.timeout(20):
            while not (await main.info("replication"))["connected_slaves"] or await main.wait(1, 200) < 1:
                await asyncio.sleep(0.1)
        await replicated.check(main)
        await append(main, range(50), durability=replicated)
        assert await follower.xlen(STREAM) == 50
        replica.pause()
        with pytest.raises(StoreUnavailableError, match="0 of 1 replicas"):
            await append(main, range(50, 51), durability=replicated)
        replica.resume()
        await append(main, range(51, 60), durability=replicated)
        await main.aclose()
        await follower.aclose()
