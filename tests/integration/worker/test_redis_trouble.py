"""Redis restarted, away, flushed: workers go on without a restart."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from redis.exceptions import ResponseError

from services.standalone.embedded import EmbeddedServer
from services.worker.consumer import LogReader
from services.worker.read_size import ReadSize

from .events import thumb
from .pipeline import Pipeline, eventually

pytestmark = pytest.mark.integration

GROUP = "plaudit-workers"


async def has_group(pipeline: Pipeline) -> bool:
    try:
        return bool(await pipeline.redis.xinfo_groups(pipeline.stream))
    except ResponseError:
        return False


async def test_a_running_worker_survives_a_flush(pipeline: Pipeline) -> None:
    async with pipeline.worker():
        await pipeline.append(pipeline.envelope(thumb("before")))
        await pipeline.until_empty()
        for round_number in range(3):
            await pipeline.redis.flushall()
            await pipeline.append(pipeline.envelope(thumb(f"after {round_number}")))
            await pipeline.until_empty()
        await eventually(lambda: has_group(pipeline))
    assert await pipeline.stored() == {"before": 1, "after 0": 1, "after 1": 1, "after 2": 1}


async def test_groups_come_back_even_while_reading_is_paused(pipeline: Pipeline, clickhouse: EmbeddedServer) -> None:
    clickhouse.stop()
    await pipeline.append(*(pipeline.envelope(thumb(f"t{n}")) for n in range(200)))
    async with pipeline.worker(worker_batch_rows=10, worker_batches_in_flight=1, worker_read_count=50):

        async def reading_paused() -> bool:
            return (await pipeline.log()).pending >= 20

        await eventually(reading_paused)
        await pipeline.redis.flushall()
        await eventually(lambda: has_group(pipeline))
        await pipeline.append(pipeline.envelope(thumb("after")))
        clickhouse.restart()
        await pipeline.until_empty()
    stored = await pipeline.stored()
    assert stored["after"] == 1
    # What was in hand when the log was lost.
    assert len(stored) >= 21


async def test_a_worker_waits_for_a_redis_that_comes_late(pipeline: Pipeline, valkey: EmbeddedServer) -> None:
    valkey.stop()
    async with pipeline.worker():
        await asyncio.sleep(1)
        valkey.restart()
        await pipeline.append(pipeline.envelope(thumb("t")))
        await pipeline.until_empty()
    assert await pipeline.stored() == {"t": 1}


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_worker_survives_a_restart_of_redis_with_its_file(
    pipeline: Pipeline, valkey: EmbeddedServer, clickhouse: EmbeddedServer, how: str
) -> None:
    async with pipeline.worker():
        await pipeline.append(pipeline.envelope(thumb("before")))
        await pipeline.until_empty()
        clickhouse.stop()
        await pipeline.append(*(pipeline.envelope(thumb(f"t{n}")) for n in range(30)))
        await pipeline.until_pending(30)
        # The file is written once a second.
        await asyncio.sleep(1.2)
        getattr(valkey, how)()
        clickhouse.restart()
        await asyncio.sleep(0.5)
        valkey.restart()
        await pipeline.until_empty()
    assert await pipeline.stored() == {"before": 1, **{f"t{n}": 1 for n in range(30)}}


async def test_a_redis_that_hangs_is_waited_for(pipeline: Pipeline, valkey: EmbeddedServer) -> None:
    pipeline.redis_settings = pipeline.redis_settings.model_copy(update={"redis_timeout": 0.5})
    async with pipeline.worker():
        await pipeline.append(pipeline.envelope(thumb("before")))
        await pipeline.until_empty()
        valkey.pause()
        await asyncio.sleep(2)
        valkey.resume()
        await pipeline.append(pipeline.envelope(thumb("after")))
        await pipeline.until_empty()
    assert await pipeline.stored() == {"before": 1, "after": 1}


async def test_a_full_redis_can_still_be_drained(pipeline: Pipeline, valkey: EmbeddedServer) -> None:
    await pipeline.append(*(pipeline.envelope(thumb(f"t{n}")) for n in range(500)))
    async with pipeline.worker(worker_window=3600):
        await pipeline.until_empty()
        await pipeline.append(*(pipeline.envelope(thumb(f"full {n}")) for n in range(500)))
        before: Any = await pipeline.redis.config_get("maxmemory")
        await pipeline.redis.config_set("maxmemory", 1)
        try:
            await pipeline.until_empty()
        finally:
            await pipeline.redis.config_set("maxmemory", before["maxmemory"])
    assert len(await pipeline.stored()) == 1000


class Reading:
    """A LogReader with a group and a name."""

    def __init__(self, pipeline: Pipeline, bytes_a_read: int = 2**20) -> None:
        self.stream = pipeline.stream
        url = pipeline.redis_settings.redis_url.get_secret_value()
        self.client = cast("Any", LogReader.from_url(url, protocol=2))
        self.client.read_size = ReadSize(bytes_a_read)

    async def read(self) -> int:
        """How many entries one read brings."""
        reply = await self.client.xreadgroup(
            groupname=GROUP, consumername="me", streams={self.stream: ">"}, count=1000, block=100
        )
        return sum(len(entries) for _, entries in reply)


async def test_the_reader_makes_groups_at_the_beginning_whatever_it_is_asked(pipeline: Pipeline) -> None:
    reading = Reading(pipeline)
    await pipeline.append(pipeline.envelope(thumb("early")))
    await reading.client.xgroup_create(pipeline.stream, GROUP, id="$", mkstream=False)
    assert await reading.read() == 1
    await reading.client.aclose()


async def test_the_reader_makes_a_group_that_is_gone_and_reads_on(pipeline: Pipeline) -> None:
    reading = Reading(pipeline)
    await pipeline.append(pipeline.envelope(thumb("t")))
    assert [await reading.read(), await reading.read()] == [0, 1]
    await reading.client.aclose()


async def test_a_read_of_large_entries_is_cut_to_its_bytes(pipeline: Pipeline) -> None:
    large = pipeline.envelope(thumb("t", event_details={"feedback": "x" * 100_000}))
    await pipeline.append(*[large] * 30)
    reading = Reading(pipeline, bytes_a_read=1_100_000)
    assert await reading.read() == 0  # made the group
    sizes = [await reading.read() for _ in range(5)]
    assert sizes[0] == 2
    assert sizes == sorted(sizes[:-1]) + sizes[-1:]
    assert max(sizes) <= 10
    await reading.client.aclose()
