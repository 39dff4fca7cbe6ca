"""ClickHouse away, broken or unwilling: nothing is lost, nothing is blamed on an event that is not its fault."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.standalone.embedded import EmbeddedServer

from .events import thumb
from .pipeline import Pipeline, eventually

pytestmark = pytest.mark.integration


async def marked(pipeline: Pipeline) -> int:
    """Requests that the window of redeliveries remembers."""
    keys = [key async for key in pipeline.redis.scan_iter("plaudit:{done}:*") if not key.endswith(b"buckets")]
    return sum([int(await pipeline.redis.scard(key)) for key in keys])


async def test_while_clickhouse_is_down_entries_stay_pending_and_afterwards_all_is_there(
    pipeline: Pipeline, clickhouse: EmbeddedServer
) -> None:
    async with pipeline.worker():
        await pipeline.append(pipeline.envelope(thumb("before")))
        await pipeline.until_empty()
        clickhouse.kill()
        await pipeline.append(*(pipeline.envelope(thumb(f"t{n}")) for n in range(20)))
        await pipeline.until_pending(20)
        # Longer than the idle time: they are renewed, so nobody's delivery is counted.
        await asyncio.sleep(1.5)
        log = await pipeline.log()
        assert (log.length, log.pending) == (20, 20)
        assert await pipeline.letters() == []
        assert await marked(pipeline) == 1
        waiting: Any = await pipeline.redis.xpending_range(pipeline.stream, "plaudit-workers", "-", "+", 100)
        assert {item["times_delivered"] for item in waiting} <= {0, 1}
        clickhouse.restart()
        await pipeline.until_empty()
        assert await marked(pipeline) == 21
    assert await pipeline.stored() == {"before": 1, **{f"t{n}": 1 for n in range(20)}}


async def test_a_worker_that_starts_while_clickhouse_is_down_delivers_when_it_is_back(
    pipeline: Pipeline, clickhouse: EmbeddedServer
) -> None:
    clickhouse.stop()
    await pipeline.append(pipeline.envelope(thumb("t")))
    async with pipeline.worker():
        await pipeline.until_pending(1)
        clickhouse.restart()
        await pipeline.until_empty()
    assert await pipeline.stored() == {"t": 1}


async def test_a_clickhouse_that_hangs_is_waited_for(pipeline: Pipeline, clickhouse: EmbeddedServer) -> None:
    pipeline.database = pipeline.database.model_copy(
        update={"clickhouse_timeout": 1.0, "clickhouse_connect_timeout": 1.0}
    )
    async with pipeline.worker():
        await pipeline.append(pipeline.envelope(thumb("before")))
        await pipeline.until_empty()
        clickhouse.pause()
        await pipeline.append(pipeline.envelope(thumb("meanwhile")))
        await pipeline.until_pending(1)
        await asyncio.sleep(2)
        assert (await pipeline.log()).pending == 1
        clickhouse.resume()
        await pipeline.until_empty()
    assert await pipeline.stored() == {"before": 1, "meanwhile": 1}


async def test_a_missing_table_is_waited_for_and_alarms(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    async with pipeline.worker():
        await pipeline.command("RENAME TABLE feedback_events TO elsewhere")
        await pipeline.append(pipeline.envelope(thumb("t")))
        await pipeline.until_pending(1)

        async def alarmed() -> bool:
            shown = capsys.readouterr().out
            return "circuit_open" in shown and "schema" in shown

        await eventually(alarmed)
        assert await pipeline.letters() == []
        assert (await pipeline.log()).pending == 1
        await pipeline.command("RENAME TABLE elsewhere TO feedback_events")
        await pipeline.until_empty()
    assert await pipeline.stored() == {"t": 1}


async def test_a_missing_column_is_no_fault_of_the_events(pipeline: Pipeline) -> None:
    async with pipeline.worker():
        await pipeline.command("ALTER TABLE feedback_events RENAME COLUMN thread_id TO gone")
        await pipeline.append(pipeline.envelope(thumb("t")))
        await pipeline.until_pending(1)
        await asyncio.sleep(0.5)
        assert await pipeline.letters() == []
        await pipeline.command("ALTER TABLE feedback_events RENAME COLUMN gone TO thread_id")
        await pipeline.until_empty()
    assert await pipeline.stored() == {"t": 1}


async def test_a_row_that_cannot_be_encoded_is_set_aside_and_the_rest_stored(pipeline: Pipeline) -> None:
    # Beyond any column of ours, yet a whole envelope: the client finds out while it encodes.
    poison = pipeline.envelope(thumb("poison"), received_at=2**63 + 5)
    good = [pipeline.envelope(thumb(f"t{n}")) for n in range(40)]
    await pipeline.append(*good[:17], poison, *good[17:])
    async with pipeline.worker():
        await pipeline.until_empty()
    assert await pipeline.stored() == {f"t{n}": 1 for n in range(40)}
    (letter,) = await pipeline.letters()
    assert letter.id == f"{poison.request_id.hex()}:0"
    assert letter.reason.startswith("clickhouse: ")


async def test_a_row_that_the_server_does_not_take_is_set_aside_and_the_rest_stored(pipeline: Pipeline) -> None:
    # Code 6, as a table gives that computes a column from what people send.
    await pipeline.command(
        "ALTER TABLE feedback_events ADD COLUMN page UInt32 MATERIALIZED toUInt32(coalesce(comment, '0'))"
    )
    good = [pipeline.envelope(thumb(f"t{n}", event_details={"feedback": str(n)})) for n in range(20)]
    poison = pipeline.envelope(thumb("good neighbour"), thumb("poison", event_details={"feedback": "no number"}))
    await pipeline.append(*good, poison)
    async with pipeline.worker():
        await pipeline.until_empty()
    assert await pipeline.stored() == {**{f"t{n}": 1 for n in range(20)}, "good neighbour": 1}
    (letter,) = await pipeline.letters()
    assert letter.id == f"{poison.request_id.hex()}:1"
    assert "Cannot parse" in letter.reason


async def test_too_many_parts_is_waited_out(pipeline: Pipeline) -> None:
    await pipeline.command("SYSTEM STOP MERGES feedback_events")
    await pipeline.command(
        "ALTER TABLE feedback_events MODIFY SETTING parts_to_throw_insert = 2, parts_to_delay_insert = 1000"
    )
    async with pipeline.worker():
        for n in range(5):
            await pipeline.append(pipeline.envelope(thumb(f"t{n}")))
            await asyncio.sleep(0.15)

        async def held_up() -> bool:
            return (await pipeline.log()).pending > 0

        await eventually(held_up)
        assert await pipeline.letters() == []
        await pipeline.command("ALTER TABLE feedback_events MODIFY SETTING parts_to_throw_insert = 3000")
        await pipeline.command("SYSTEM START MERGES feedback_events")
        await pipeline.until_empty()
    assert await pipeline.stored() == {f"t{n}": 1 for n in range(5)}
