"""SIGTERM in every phase: what is in hand is inserted and settled, or left pending; nothing hangs."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from services.standalone.embedded import EmbeddedServer

from .events import thumb
from .pipeline import Pipeline, eventually

pytestmark = pytest.mark.integration


async def test_sigterm_under_load_leaves_nothing_pending_and_no_consumer(pipeline: Pipeline, tmp_path: Path) -> None:
    sent, enough = 0, asyncio.Event()

    async def send() -> None:
        nonlocal sent
        while not enough.is_set():
            await pipeline.append(*(pipeline.envelope(thumb(f"t{sent + n}")) for n in range(200)))
            sent += 200
            await asyncio.sleep(0.01)

    # Batches that are never old enough: what is in hand at the end goes because of the end.
    with pipeline.worker_process(tmp_path / "log", worker_batch_age=60, worker_batch_rows=1000) as worker:
        await worker.until_logged("worker_started")
        sending = asyncio.create_task(send())
        await asyncio.sleep(1)
        worker.signal(signal.SIGTERM)
        assert await worker.exit_status() == 0
        enough.set()
        await sending
    assert (await pipeline.log()).pending == 0
    assert await pipeline.consumers() == []
    left = await pipeline.redis.xlen(pipeline.stream)
    stored = await pipeline.stored()
    assert set(stored.values()) == {1}
    assert len(stored) + left == sent


async def test_a_rolling_restart_loses_and_doubles_nothing(pipeline: Pipeline, tmp_path: Path) -> None:
    await pipeline.append(*(pipeline.envelope(thumb(f"t{n}")) for n in range(3000)))
    for _ in range(3):
        with pipeline.worker_process(tmp_path / "log", worker_read_count=100, worker_batch_rows=100) as worker:
            await worker.until_logged("worker_started")
            worker.signal(signal.SIGTERM)
            assert await worker.exit_status() == 0
        worker.log.write_text("")
        assert (await pipeline.log()).pending == 0
    async with pipeline.worker():
        await pipeline.until_empty()
    assert await pipeline.stored() == {f"t{n}": 1 for n in range(3000)}


async def test_sigterm_while_redis_is_not_there_yet_ends_at_once(
    pipeline: Pipeline, valkey: EmbeddedServer, tmp_path: Path
) -> None:
    valkey.stop()
    with pipeline.worker_process(tmp_path / "log") as worker:
        await worker.until_logged("redis_not_reached")
        worker.signal(signal.SIGTERM)
        assert await worker.exit_status() == 0


async def test_sigterm_while_clickhouse_is_down_ends_in_time_and_leaves_all_pending(
    pipeline: Pipeline, clickhouse: EmbeddedServer, tmp_path: Path
) -> None:
    clickhouse.stop()
    await pipeline.append(*(pipeline.envelope(thumb(f"t{n}")) for n in range(10)))
    with pipeline.worker_process(tmp_path / "log", worker_drain_timeout=1) as worker:
        await pipeline.until_pending(10)
        asked = time.monotonic()
        worker.signal(signal.SIGTERM)
        assert await worker.exit_status() == 0
        assert time.monotonic() - asked < 5
        assert "drain_timeout" in worker.log.read_text()
    assert (await pipeline.log()).pending == 10
    clickhouse.restart()
    async with pipeline.worker():
        await pipeline.until_empty()
    assert len(await pipeline.stored()) == 10


@pytest.mark.parametrize("hanging", ["clickhouse", "valkey"])
async def test_sigterm_while_a_server_hangs_ends_in_time_and_loses_and_doubles_nothing(
    pipeline: Pipeline, request: pytest.FixtureRequest, tmp_path: Path, hanging: str
) -> None:
    server: EmbeddedServer = request.getfixturevalue(hanging)
    await pipeline.append(pipeline.envelope(thumb("before")))
    # Its limits on one answer (60 s and 5 s) are longer than what it has to end.
    with pipeline.worker_process(tmp_path / "log", worker_drain_timeout=1, worker_batch_age=0.5) as worker:
        await pipeline.until_empty()
        if hanging == "clickhouse":
            server.pause()
        await pipeline.append(*(pipeline.envelope(thumb(f"t{n}")) for n in range(10)))
        await pipeline.until_pending(10)
        if hanging == "valkey":
            server.pause()
        else:
            await asyncio.sleep(1)
        asked = time.monotonic()
        worker.signal(signal.SIGTERM)
        assert await worker.exit_status() == 0
        assert time.monotonic() - asked < 4
        assert "drain_timeout" in worker.log.read_text()
    server.resume()
    assert (await pipeline.log()).pending == 10
    async with pipeline.worker():
        await pipeline.until_empty()
    assert await pipeline.stored() == {"before": 1, **{f"t{n}": 1 for n in range(10)}}


async def test_what_is_in_hand_is_inserted_even_if_redis_has_lost_everything(pipeline: Pipeline) -> None:
    async with pipeline.worker(worker_batch_age=60):
        await pipeline.append(*(pipeline.envelope(thumb(f"t{n}")) for n in range(10)))
        await pipeline.until_pending(10)
        await pipeline.redis.flushall()
    assert len(await pipeline.stored()) == 10


async def test_a_stop_while_reading_is_paused_drains_what_was_read(
    pipeline: Pipeline, clickhouse: EmbeddedServer
) -> None:
    clickhouse.stop()
    await pipeline.append(*(pipeline.envelope(thumb(f"t{n}")) for n in range(200)))
    async with pipeline.worker(worker_batch_rows=10, worker_batches_in_flight=1, worker_read_count=50):

        async def reading_paused() -> bool:
            return (await pipeline.log()).pending >= 20

        await eventually(reading_paused)
        clickhouse.restart()
    assert (await pipeline.log()).pending == 0
    assert await pipeline.consumers() == []
    assert len(await pipeline.stored()) + await pipeline.redis.xlen(pipeline.stream) == 200
