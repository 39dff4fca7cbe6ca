"""What cannot be stored is kept whole, and never in the way of the rest."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Any

import pytest

from shared.dead_letters import DeadLetter, DeadLetterBox, Size
from shared.envelope import FIELD, RawEvent
from shared.errors import StoreUnavailableError
from shared.settings import MIB

from .events import thumb
from .pipeline import Pipeline, eventually
from .test_clickhouse_trouble import marked

pytestmark = pytest.mark.integration


def letter(name: str, payload: bytes = b"payload") -> DeadLetter:
    return DeadLetter(name, "why", 1, "s", "1-0", None, payload)


async def test_a_poison_envelope_among_good_ones_becomes_a_dead_letter(pipeline: Pipeline) -> None:
    await pipeline.append(pipeline.envelope(thumb("a")))
    poison: Any = await pipeline.redis.xadd(pipeline.stream, {FIELD: b"\xc1 not ours"})
    strange: Any = await pipeline.redis.xadd(pipeline.stream, {b"data": b'{"trace_id": "t"}'})
    await pipeline.append(pipeline.envelope(thumb("b")))
    async with pipeline.worker():
        await pipeline.until_empty()
    assert await pipeline.stored() == {"a": 1, "b": 1}
    letters = {found.entry_id: found for found in await pipeline.letters()}
    assert set(letters) == {poison.decode(), strange.decode()}
    assert letters[poison.decode()].payload == b"\xc1 not ours"
    assert b'{"trace_id": "t"}' in letters[strange.decode()].payload
    assert all(found.reason.startswith("envelope: ") for found in letters.values())


async def test_a_bad_event_is_kept_with_the_envelope_it_came_in(pipeline: Pipeline) -> None:
    sent = pipeline.envelope(thumb("a"), b'{"trace_id": 7}', thumb("b"), received_at=1_795_316_670_000_000)
    await pipeline.append(sent)
    async with pipeline.worker():
        await pipeline.until_empty()
        assert await marked(pipeline) == 0
    assert await pipeline.stored() == {"a": 1, "b": 1}
    (kept,) = await pipeline.letters()
    assert kept.id == f"{sent.request_id.hex()}:1"
    assert kept.envelope is not None
    assert kept.envelope.events == [RawEvent(1, b'{"trace_id": 7}')]
    assert (kept.envelope.request_id, kept.envelope.received_at) == (sent.request_id, sent.received_at)
    assert kept.envelope.replayed


async def test_an_unknown_source_is_kept_for_a_release_that_knows_it(pipeline: Pipeline) -> None:
    await pipeline.append(pipeline.envelope(b"{}", b"[]", source="newcomer"))
    async with pipeline.worker():
        await pipeline.until_empty()
    assert sorted(found.reason for found in await pipeline.letters()) == ["no format is called 'newcomer'"] * 2


@pytest.mark.parametrize("bound", [{"dead_letters_capacity": 1}, {"dead_letters_bytes": 1000}])
async def test_when_dead_letters_are_full_their_entries_stay_pending_and_others_go_on(
    pipeline: Pipeline, bound: dict[str, int]
) -> None:
    await DeadLetterBox(pipeline.redis, Size(1, MIB)).put([letter("there already", bytes(900))])
    await pipeline.append(pipeline.envelope(thumb("a")), pipeline.envelope(b"{}"), pipeline.envelope(thumb("b")))
    async with pipeline.worker(**bound, worker_claim_idle=0.3, worker_max_deliveries=2):

        async def others_done() -> bool:
            return await pipeline.stored() == {"a": 1, "b": 1}

        await eventually(others_done)
        # Through claims and a trial alone it stays.
        await asyncio.sleep(2)
        log = await pipeline.log()
        assert (log.length, log.pending) == (1, 1)
        assert [found.id for found in await pipeline.letters()] == ["there already"]
        await pipeline.redis.delete("plaudit:{dead-letters}")
        await pipeline.until_empty()
    (kept,) = await pipeline.letters()
    assert kept.id != "there already"


async def test_a_redelivered_dead_letter_is_kept_once(pipeline: Pipeline) -> None:
    bad = pipeline.envelope(b"{}")
    async with pipeline.worker():
        for _ in range(3):
            await pipeline.append(bad)
            await pipeline.until_empty()
    assert len(await pipeline.letters()) == 1


async def test_a_full_box_takes_what_it_holds_already(pipeline: Pipeline) -> None:
    box = DeadLetterBox(pipeline.redis, Size(2, MIB))
    await box.put([letter("1"), letter("2")])
    await box.put([letter("2")])
    with pytest.raises(StoreUnavailableError, match="full: 2 letters"):
        await box.put([letter("2"), letter("3")])
    assert await box.count() == 2


async def test_bytes_are_bounded_as_redis_counts_them_whatever_their_letters_weigh(pipeline: Pipeline) -> None:
    box = DeadLetterBox(pipeline.redis, Size(100_000, 4 * MIB))
    kept = 0

    async def fill() -> None:
        nonlocal kept
        while True:
            await box.put([letter(f"{kept}-{n}", os.urandom(400 * (n + 1))) for n in range(20)])
            kept += 20

    with pytest.raises(StoreUnavailableError, match=f"full: {4 * MIB} bytes"):
        await fill()
    size = await box.size()
    assert size.letters == kept > 800
    assert 0.9 * 4 * MIB < size.bytes <= 4 * MIB
    assert size.share_of(Size(100_000, 4 * MIB)) == size.bytes / (4 * MIB)
    # All or nothing, but what is smaller may fit still, and what is removed makes room.
    await box.put([letter("small")])
    await box.remove([f"0-{n}" for n in range(20)])
    await box.put([letter(f"again-{n}", os.urandom(400 * (n + 1))) for n in range(20)])


async def test_a_full_box_takes_a_letter_in_place_of_one_that_was_longer(pipeline: Pipeline) -> None:
    box = DeadLetterBox(pipeline.redis, Size(10, 10_000))
    await box.put([letter("1", bytes(9000))])
    with pytest.raises(StoreUnavailableError):
        await box.put([letter("1", bytes(20_000))])
    await box.put([letter("1", bytes(8000))])
    assert (await box.size()).letters == 1


async def test_many_workers_stay_within_the_room_together(pipeline: Pipeline) -> None:
    async def fill(name: int) -> None:
        box = DeadLetterBox(pipeline.redis, Size(50, MIB))
        for n in range(20):
            with contextlib.suppress(StoreUnavailableError):
                await box.put([letter(f"{name}-{n}-{m}") for m in range(3)])

    await asyncio.gather(*map(fill, range(10)))
    assert await DeadLetterBox(pipeline.redis).count() == 48


async def test_an_empty_put_does_nothing(pipeline: Pipeline) -> None:
    await DeadLetterBox(pipeline.redis, Size(2, MIB)).put([])
    assert await DeadLetterBox(pipeline.redis, Size(2, MIB)).count() == 0


async def test_a_letter_that_cannot_be_read_does_not_hide_the_others(pipeline: Pipeline) -> None:
    box = DeadLetterBox(pipeline.redis, Size(10, MIB))
    await box.put([letter("whole")])
    await pipeline.redis.hset("plaudit:{dead-letters}", "broken", os.urandom(8))
    assert [found.id for found in await pipeline.letters()] == ["whole"]
    assert await box.get("broken") is None
    assert await box.remove(["broken", "whole", "never"]) == 2
