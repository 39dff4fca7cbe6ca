"""What the doors tell of the log: alarms and the number of workers hang on it."""

from __future__ import annotations

import asyncio
import time

import pytest

from services.ingest_api.log_gauges import LogGauges
from shared.dead_letters import Size
from shared.settings import RedisSettings
from shared.streams import connect, ensure_group, partitions, settle
from shared.telemetry import IngestMetrics

pytestmark = pytest.mark.integration


def told(metrics: IngestMetrics) -> dict[str, float]:
    log = ("backlog_entries", "backlog_pending_entries", "backlog_oldest_seconds", "redis_up")
    names = (*log, "dead_letters", "dead_letters_bytes", "dead_letters_used_ratio")
    return {name: metrics.registry.get_sample_value(f"plaudit_{name}") or 0.0 for name in names}


async def test_the_figures_follow_the_log(redis_url: str) -> None:
    settings = RedisSettings.model_validate({"redis_url": redis_url, "stream_partitions": 2})
    redis, metrics = connect(settings), IngestMetrics()
    streams, group = partitions(settings), settings.consumer_group
    gauges = LogGauges(redis, streams, group, Size(1000, 1_000_000), metrics, wall_clock=lambda: time.time() + 30)
    await gauges.measure()
    assert told(metrics) == {
        "backlog_entries": 0,
        "backlog_pending_entries": 0,
        "backlog_oldest_seconds": 0,
        "dead_letters": 0,
        "redis_up": 1,
        "dead_letters_bytes": 0,
        "dead_letters_used_ratio": 0,
    }
    for stream in streams:
        await ensure_group(redis, stream, group)
    entries = [await redis.xadd(stream, {"envelope": b"x"}) for stream in streams for _ in range(3)]
    await redis.xreadgroup(group, "me", {streams[0]: ">"}, count=2)
    await redis.hset("plaudit:{dead-letters}", "a", bytes(100_000))
    await gauges.measure()
    now = told(metrics)
    assert (now["backlog_entries"], now["backlog_pending_entries"], now["dead_letters"]) == (6, 2, 1)
    assert 100_000 < now["dead_letters_bytes"] < 150_000
    assert now["dead_letters_used_ratio"] == now["dead_letters_bytes"] / 1_000_000
    assert 29 < now["backlog_oldest_seconds"] < 60
    first = entries[0]
    assert isinstance(first, bytes)
    await settle(redis, streams[0], group, [first])
    await gauges.measure()
    assert told(metrics)["backlog_entries"] == 5
    await redis.aclose()


async def test_an_absent_redis_is_told_and_the_rest_stands_still() -> None:
    settings = RedisSettings.model_validate({"redis_url": "redis://127.0.0.1:1/0", "redis_timeout": 1})
    redis, metrics = connect(settings), IngestMetrics()
    metrics.backlog_entries.set(7)
    metrics.redis_up.set(1)
    room = Size.allowed(settings)
    gauges = LogGauges(redis, partitions(settings), settings.consumer_group, room, metrics, wall_clock=time.time)
    running = asyncio.create_task(gauges.run())
    while told(metrics)["redis_up"]:
        await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert told(metrics)["backlog_entries"] == 7
    await redis.aclose()
