"""The publisher on a real Valkey, through what can happen to one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from services.ingest_api.publisher import Limits, Publisher
from services.standalone.embedded import EmbeddedServer, embedded_valkey
from shared.envelope import FIELD, Envelope, RawEvent, decode
from shared.errors import StoreUnavailableError
from shared.settings import RedisSettings
from shared.streams import connect
from shared.telemetry import IngestMetrics

pytestmark = pytest.mark.integration

_STREAMS = ["test:{0}", "test:{1}", "test:{2}"]
_LIMITS = Limits(batch=100, queue=1000, queue_bytes=10_000_000, timeout=2.0, lanes=2)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[tuple[str, EmbeddedServer]]:
    with embedded_valkey(tmp_path) as running:
        yield running


@contextlib.asynccontextmanager
async def _publishing(
    url: str, limits: Limits = _LIMITS, streams: list[str] = _STREAMS
) -> AsyncIterator[tuple[Publisher, Redis, IngestMetrics]]:
    metrics = IngestMetrics()
    redis = connect(RedisSettings(redis_url=SecretStr(url)))
    redis.set_retry(Retry(NoBackoff(), 0))
    publisher = Publisher(redis, streams, limits, metrics, clock=time.monotonic)
    running = asyncio.create_task(publisher.run())
    await asyncio.sleep(0)
    try:
        yield publisher, redis, metrics
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await redis.aclose()


def _envelope(number: int, size: int = 10, part: int = 0) -> Envelope:
    request_id = number.to_bytes(4, "big") + bytes(12)
    return Envelope("p", "lunary", request_id, 1, [RawEvent(0, b"x" * size)], part)


async def _appended(publisher: Publisher, envelopes: list[Envelope]) -> None:
    """An append may be refused at once, or when it is awaited."""
    await publisher.append(envelopes)


async def _entries(redis: Redis, streams: list[str] = _STREAMS) -> list[Envelope]:
    found: list[Envelope] = []
    for stream in streams:
        rows: Any = await redis.xrange(stream)
        found += [decode(fields[FIELD]) for _, fields in rows]
    return found


async def test_concurrent_appends_share_round_trips_and_each_lands_once(valkey: tuple[str, EmbeddedServer]) -> None:
    async with _publishing(valkey[0]) as (publisher, redis, metrics):
        await asyncio.gather(*[publisher.append([_envelope(number)]) for number in range(500)])
        entries = await _entries(redis)
        assert sorted(entry.request_id for entry in entries) == sorted(_envelope(n).request_id for n in range(500))
        rendered = metrics.render().decode()
        groups = float(rendered.split("plaudit_ingest_append_entries_count ")[1].split()[0])
        assert groups <= 10


async def test_parts_of_a_request_stay_in_one_stream(valkey: tuple[str, EmbeddedServer]) -> None:
    async with _publishing(valkey[0]) as (publisher, redis, _):
        for number in range(6):
            await publisher.append([_envelope(number, part=part) for part in range(3)])
        by_stream = [{entry.request_id for entry in await _entries(redis, [stream])} for stream in _STREAMS]
        assert [len(requests) for requests in by_stream] == [2, 2, 2]
        assert len(await _entries(redis)) == 18


async def test_a_full_redis_refuses_and_none_of_a_requests_parts_is_there(valkey: tuple[str, EmbeddedServer]) -> None:
    async with _publishing(valkey[0]) as (publisher, redis, _):
        used = int((await redis.info("memory"))["used_memory"])
        await redis.config_set("maxmemory", used)
        for envelopes in ([_envelope(1)], [_envelope(2), _envelope(2, part=1)]):
            with pytest.raises(StoreUnavailableError, match="OutOfMemoryError"):
                await publisher.append(envelopes)
        assert await _entries(redis) == []
        await redis.config_set("maxmemory", 0)
        await publisher.append([_envelope(3)])
        assert [entry.request_id for entry in await _entries(redis)] == [_envelope(3).request_id]


async def test_one_refused_request_does_not_fail_its_neighbours_in_the_group(
    valkey: tuple[str, EmbeddedServer],
) -> None:
    async with _publishing(valkey[0]) as (publisher, redis, _):
        await redis.set(_STREAMS[0], "no stream")
        outcomes = await asyncio.gather(
            *[publisher.append([_envelope(number), _envelope(number, part=1)]) for number in range(9)],
            return_exceptions=True,
        )
        assert [isinstance(outcome, StoreUnavailableError) for outcome in outcomes] == [n % 3 == 0 for n in range(9)]
        assert len(await _entries(redis, _STREAMS[1:])) == 12


async def test_a_restarted_redis_is_found_again_without_a_refusal(valkey: tuple[str, EmbeddedServer]) -> None:
    url, server = valkey
    async with _publishing(url) as (publisher, redis, _):
        await publisher.append([_envelope(1)])
        await asyncio.to_thread(server.restart)
        await publisher.append([_envelope(2)])
        assert len(await _entries(redis)) == 2


async def test_a_dead_redis_is_told_at_once_and_a_living_one_is_used_again(valkey: tuple[str, EmbeddedServer]) -> None:
    url, server = valkey
    async with _publishing(url) as (publisher, redis, _):
        await publisher.append([_envelope(1)])
        await asyncio.to_thread(server.kill)
        started = time.monotonic()
        outcomes = await asyncio.gather(
            *[publisher.append([_envelope(number)]) for number in range(2, 300)], return_exceptions=True
        )
        assert all(isinstance(outcome, StoreUnavailableError) for outcome in outcomes)
        assert time.monotonic() - started < 1.5
        await asyncio.to_thread(server.restart)
        await publisher.append([_envelope(300)])
        assert len(await _entries(redis)) == 2


async def test_a_redis_that_hangs_is_given_up_in_time_and_what_waits_is_bounded(
    valkey: tuple[str, EmbeddedServer],
) -> None:
    url, server = valkey
    limits = _LIMITS._replace(timeout=0.5, queue=50, batch=10)
    async with _publishing(url, limits) as (publisher, _, _metrics):
        await publisher.append([_envelope(1)])
        server.pause()
        try:
            appends = [asyncio.create_task(_appended(publisher, [_envelope(number)])) for number in range(2, 202)]
            started = time.monotonic()
            outcomes = await asyncio.gather(*appends, return_exceptions=True)
        finally:
            server.resume()
        assert all(isinstance(outcome, StoreUnavailableError) for outcome in outcomes)
        assert sum("too many" in str(outcome) for outcome in outcomes) >= 100
        assert time.monotonic() - started < 2
        await publisher.append([_envelope(1000)])


async def test_bytes_that_wait_are_bounded_too(valkey: tuple[str, EmbeddedServer]) -> None:
    url, server = valkey
    async with _publishing(url, _LIMITS._replace(timeout=0.5, queue_bytes=5000)) as (publisher, _, _metrics):
        server.pause()
        try:
            appends = [
                asyncio.create_task(_appended(publisher, [_envelope(number, size=2000)])) for number in range(20)
            ]
            outcomes = await asyncio.gather(*appends, return_exceptions=True)
        finally:
            server.resume()
        assert sum("too many" in str(outcome) for outcome in outcomes) == 17


async def test_a_closed_publisher_refuses_what_waits_and_what_comes(valkey: tuple[str, EmbeddedServer]) -> None:
    url, server = valkey
    async with _publishing(url, _LIMITS._replace(timeout=30)) as (publisher, _, _metrics):
        server.pause()
        waiting = [asyncio.create_task(_appended(publisher, [_envelope(number)])) for number in range(300)]
        await asyncio.sleep(0.05)
    server.resume()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(outcome, StoreUnavailableError) for outcome in outcomes)
    with pytest.raises(StoreUnavailableError):
        await publisher.append([_envelope(1)])
