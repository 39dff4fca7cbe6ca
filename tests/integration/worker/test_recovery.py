"""Workers that die, sleep, leave; entries that kill."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from services.standalone.embedded import EmbeddedServer
from services.worker.entries import Holdings
from services.worker.read_size import ReadSize
from services.worker.recovery import Claimed, Membership, Recovery
from services.worker.suspects import KEY as SUSPECTS
from shared.dead_letters import DeadLetter, DeadLetterBox, Size
from shared.settings import MIB
from shared.streams import ensure_group

from .events import thumb
from .pipeline import Pipeline, eventually

pytestmark = pytest.mark.integration

GROUP = "plaudit-workers"


async def leave_behind(pipeline: Pipeline, consumer: str, deliveries: int = 1) -> None:
    """Hands all entries to a consumer that is gone, as if they had been delivered that often."""
    await ensure_group(pipeline.redis, pipeline.stream, GROUP)
    await pipeline.redis.xreadgroup(GROUP, consumer, {pipeline.stream: ">"}, count=10_000)
    pending = await pipeline.redis.xpending_range(pipeline.stream, GROUP, "-", "+", 10_000, consumer)
    ids: list[Any] = [item["message_id"] for item in pending]
    await pipeline.redis.xclaim(
        pipeline.stream, GROUP, consumer, 0, ids, idle=10_000, retrycount=deliveries, justid=True
    )


async def test_what_a_killed_worker_held_is_delivered_by_another(
    pipeline: Pipeline, clickhouse: EmbeddedServer, tmp_path: Path
) -> None:
    clickhouse.stop()
    await pipeline.append(*(pipeline.envelope(thumb(f"t{n}")) for n in range(100)))
    with pipeline.worker_process(tmp_path / "log") as victim:
        await pipeline.until_pending(100)
        victim.kill()
    clickhouse.restart()
    (dead,) = await pipeline.consumers()
    async with pipeline.worker(worker_consumer_ttl=0.5):
        await pipeline.until_empty()

        async def reaped() -> bool:
            return dead not in await pipeline.consumers()

        await eventually(reaped)
    assert await pipeline.stored() == {f"t{n}": 1 for n in range(100)}


async def test_a_worker_killed_again_and_again_loses_and_doubles_nothing(pipeline: Pipeline, tmp_path: Path) -> None:
    total = 0
    for round_number in range(4):
        with pipeline.worker_process(tmp_path / "log", worker_batch_rows=50) as victim:
            for _ in range(5):
                await pipeline.append(*(pipeline.envelope(thumb(f"t{total + n}")) for n in range(100)))
                total += 100
                await asyncio.sleep(0.1 * round_number)
            victim.kill()
    async with pipeline.worker():
        await pipeline.until_empty()
    assert await pipeline.stored() == {f"t{n}": 1 for n in range(total)}
    assert await pipeline.letters() == []


async def test_a_worker_suspended_for_longer_than_the_idle_time_doubles_nothing(
    pipeline: Pipeline, clickhouse: EmbeddedServer, tmp_path: Path
) -> None:
    with pipeline.worker_process(tmp_path / "log") as zombie:
        await zombie.until_logged("worker_started")
        clickhouse.stop()
        await pipeline.append(*(pipeline.envelope(thumb(f"t{n}")) for n in range(100)))
        await pipeline.until_pending(100)
        zombie.signal(signal.SIGSTOP)
        clickhouse.restart()
        async with pipeline.worker():
            await pipeline.until_empty()
            zombie.signal(signal.SIGCONT)
            await pipeline.append(pipeline.envelope(thumb("later")))
            await pipeline.until_empty()
        zombie.signal(signal.SIGTERM)
        assert await zombie.exit_status() == 0
    expected = {**{f"t{n}": 1 for n in range(100)}, "later": 1}
    assert await pipeline.stored() == expected
    assert await pipeline.select("SELECT sum(events) FROM feedback_current") == [(101,)]
    assert (await pipeline.log()).pending == 0


async def test_a_worker_does_not_rob_one_that_is_still_working(pipeline: Pipeline, clickhouse: EmbeddedServer) -> None:
    clickhouse.stop()
    await pipeline.append(*(pipeline.envelope(thumb(f"t{n}")) for n in range(10)))
    async with pipeline.worker(worker_claim_idle=0.6):
        await pipeline.until_pending(10)
        (owner,) = await pipeline.consumers()
        async with pipeline.worker(worker_claim_idle=0.6):
            await asyncio.sleep(2)
            pending = await pipeline.redis.xpending(pipeline.stream, GROUP)
            assert pending["consumers"] == [{"name": owner.encode(), "pending": 10}]
        clickhouse.restart()
        await pipeline.until_empty()


async def test_a_reply_that_was_lost_comes_back_by_claim_and_before_leaving(pipeline: Pipeline) -> None:
    await pipeline.append(pipeline.envelope(thumb("t")))
    await leave_behind(pipeline, "me")
    member = Membership([pipeline.stream], GROUP, "me")
    claimed: list[Claimed] = []

    async def take(found: list[Claimed]) -> None:
        claimed.extend(found)

    holdings = Holdings(lambda: 0.0)
    recovery = Recovery(pipeline.redis, member, holdings, ReadSize(2**20), claim_idle=5, claim_count=10)
    assert await recovery.claim(take) == 1
    assert [read async for read in recovery.own_pending()] == []
    holdings.release(item.entry for item in claimed)
    assert [len(read) async for read in recovery.own_pending()] == [1]


async def test_claiming_reaches_the_end_of_a_long_pending_list(pipeline: Pipeline) -> None:
    await pipeline.append(*(pipeline.envelope(thumb(f"t{n}")) for n in range(1500)))
    await leave_behind(pipeline, "gone")
    async with pipeline.worker(worker_claim_count=100):
        await pipeline.until_empty()
    assert len(await pipeline.stored()) == 1500


class Fragile(Redis):
    """A Redis whose XPENDING fails once."""

    failures = 1

    async def xpending_range(self, *args: object, **options: object) -> object:  # type: ignore[override]
        if self.failures:
            self.failures -= 1
            raise RedisConnectionError("reset")
        return await super().xpending_range(*args, **options)  # type: ignore[arg-type]


async def test_a_claim_that_fails_half_way_keeps_nothing_in_hand(pipeline: Pipeline) -> None:
    await pipeline.append(pipeline.envelope(thumb("t")))
    await leave_behind(pipeline, "gone")
    holdings = Holdings(lambda: 0.0)
    redis = Fragile.from_url(pipeline.redis_settings.redis_url.get_secret_value(), protocol=2)
    member = Membership([pipeline.stream], GROUP, "me")
    recovery = Recovery(redis, member, holdings, ReadSize(2**20), claim_idle=0.001, claim_count=10)
    taken: list[Claimed] = []

    async def take(claimed: list[Claimed]) -> None:
        taken.extend(claimed)

    with pytest.raises(RedisConnectionError):
        await recovery.claim(take)
    assert len(holdings) == 0
    await asyncio.sleep(0.01)
    assert await recovery.claim(take) == 1
    assert [item.deliveries for item in taken] == [3]
    await redis.aclose()


async def test_an_entry_delivered_too_often_is_tried_alone_and_stored_if_it_is_innocent(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    await pipeline.append(*(pipeline.envelope(thumb(f"t{n}")) for n in range(3)))
    await leave_behind(pipeline, "killed", deliveries=9)
    async with pipeline.worker():
        await pipeline.until_empty()
    assert await pipeline.stored() == {"t0": 1, "t1": 1, "t2": 1}
    assert capsys.readouterr().out.count("entry_tried_alone") == 3
    assert await pipeline.redis.hlen(SUSPECTS) == 0


async def test_only_what_killed_two_workers_alone_becomes_a_dead_letter(pipeline: Pipeline) -> None:
    await pipeline.append(pipeline.envelope(thumb("killer")), pipeline.envelope(thumb("killed one")))
    await leave_behind(pipeline, "killed", deliveries=9)
    entries: Any = await pipeline.redis.xrange(pipeline.stream)
    ids: list[bytes] = [entry_id for entry_id, _ in entries]
    for entry_id, deaths in zip(ids, (2, 1), strict=True):
        await pipeline.redis.hset(SUSPECTS, f"{pipeline.stream}:{entry_id.decode()}", str(deaths))
    async with pipeline.worker():
        await pipeline.until_empty()
    assert await pipeline.stored() == {"killed one": 1}
    (letter,) = await pipeline.letters()
    assert letter.reason == "killed the worker that held it alone, 10 deliveries in all"
    assert await pipeline.redis.hlen(SUSPECTS) == 0


async def test_what_killed_two_workers_is_not_tried_again_while_there_is_no_room_for_its_letter(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    await DeadLetterBox(pipeline.redis, Size(1, MIB)).put([DeadLetter("first", "why", 1, "s", "1-0", None)])
    await pipeline.append(pipeline.envelope(thumb("killer")))
    await leave_behind(pipeline, "killed", deliveries=9)
    entries: Any = await pipeline.redis.xrange(pipeline.stream)
    ((entry_id, _),) = entries
    await pipeline.redis.hset(SUSPECTS, f"{pipeline.stream}:{entry_id.decode()}", "2")
    async with pipeline.worker(dead_letters_capacity=1, worker_claim_idle=0.3):
        shown = ""

        async def refused_twice() -> bool:
            nonlocal shown
            shown += capsys.readouterr().out
            return shown.count("dead_letters_not_kept") >= 2

        await eventually(refused_twice)
        assert "entry_tried_alone" not in shown
        assert await pipeline.stored() == {}
        await DeadLetterBox(pipeline.redis).remove(["first"])
        await pipeline.until_empty()
    (letter,) = await pipeline.letters()
    assert letter.reason.startswith("killed the worker that held it alone")
    assert await pipeline.redis.hlen(SUSPECTS) == 0


async def test_no_suspect_is_condemned_or_counted_while_clickhouse_is_away(
    pipeline: Pipeline, clickhouse: EmbeddedServer
) -> None:
    await pipeline.append(pipeline.envelope(thumb("suspect")))
    await leave_behind(pipeline, "killed", deliveries=9)
    clickhouse.stop()
    async with pipeline.worker(worker_claim_idle=0.3):
        await asyncio.sleep(1.5)
        assert await pipeline.letters() == []
        assert await pipeline.redis.hlen(SUSPECTS) == 0
        clickhouse.restart()
        await pipeline.until_empty()
    assert await pipeline.stored() == {"suspect": 1}
