"""``plaudit dead-letters`` as someone types it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from services.cli import app
from services.operate.dead_letters import MomentError, moment
from shared.dead_letters import KEY, DeadLetter, DeadLetterBox, Size
from shared.envelope import FIELD, decode
from shared.settings import MIB, ClickHouseSettings
from tests.integration.worker.events import thumb
from tests.integration.worker.pipeline import Pipeline, open_pipeline

pytestmark = pytest.mark.integration

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOON_MICROS = 1_795_348_800_000_000
HOUR = 3_600_000_000


@pytest.fixture
async def pipeline(
    redis_url: str, database: ClickHouseSettings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Pipeline]:
    monkeypatch.setenv("PLAUDIT_REDIS_URL", redis_url)
    async with open_pipeline(redis_url, database) as opened:
        yield opened


async def run(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, ["dead-letters", *arguments])


async def told(*arguments: str) -> Any:
    result = await run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def keep(pipeline: Pipeline, name: str, reason: str = "why", at: int = NOON_MICROS, **more: Any) -> DeadLetter:
    envelope = pipeline.envelope(thumb(f"trace {name}"), replayed=True, **more)
    letter = DeadLetter(name, reason, at, pipeline.stream, "1-0", envelope)
    await DeadLetterBox(pipeline.redis, Size(1000, MIB)).put([letter])
    return letter


async def keep_no_envelope(pipeline: Pipeline) -> None:
    letter = DeadLetter("entry:s:1-0", "envelope: not ours", NOON_MICROS, "s", "1-0", None, b"\xffwhatever")
    await DeadLetterBox(pipeline.redis, Size(1000, MIB)).put([letter])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22T12:00:00Z", NOON_MICROS),
        ("2026-11-22T12:00", NOON_MICROS),
        ("2026-11-22T13:00+01:00", NOON_MICROS),
        ("2026-11-22", NOON_MICROS - 12 * HOUR),
        ("90m", NOON_MICROS - 3 * HOUR // 2),
        ("7d", NOON_MICROS - 7 * 24 * HOUR),
    ],
)
def test_a_moment_is_a_date_a_time_or_an_age(text: str, expected: int) -> None:
    assert moment(text, NOON) == expected


@pytest.mark.parametrize("text", ["yesterday", "", "5 parsecs", "99999999999999w"])
def test_what_tells_no_moment_is_refused(text: str) -> None:
    with pytest.raises(MomentError):
        moment(text, NOON)


async def test_listing_filters_by_reason_project_and_time(pipeline: Pipeline) -> None:
    await keep(pipeline, "a", "Cannot parse text", NOON_MICROS - HOUR, project_id="shop")
    await keep(pipeline, "b", "no format is called x", NOON_MICROS)
    await keep(pipeline, "c", "no format is called y", NOON_MICROS + HOUR)
    await keep_no_envelope(pipeline)

    async def listed(*options: str) -> list[str]:
        return [letter["id"] for letter in await told("list", *options)]

    assert await listed() == ["a", "b", "entry:s:1-0", "c"]
    assert await listed("--reason", "CANNOT") == ["a"]
    assert await listed("--project", "shop") == ["a"]
    assert await listed("--since", "2026-11-22T12:00", "--until", "2026-11-22T13:00") == ["b", "entry:s:1-0"]
    assert await listed("--reason", "format", "--since", "2026-11-22T12:30") == ["c"]


async def test_the_list_for_people_shows_the_newest_and_says_how_many_there_are(pipeline: Pipeline) -> None:
    for number in range(4):
        await keep(pipeline, f"id-{number}", at=NOON_MICROS + number)
    shown = (await run("list", "--limit", "2")).stdout
    assert "id-3" in shown
    assert "id-1" not in shown
    assert "4 dead letters, the newest 2 shown" in shown


async def test_show_tells_all_that_was_kept(pipeline: Pipeline) -> None:
    letter = await keep(pipeline, "a", project_id="shop")
    await keep_no_envelope(pipeline)
    assert letter.envelope is not None
    shown = await told("show", "a")
    assert shown["content"] == [thumb("trace a").decode()]
    assert (shown["project"], shown["request_id"]) == ("shop", letter.envelope.request_id.hex())
    assert (await told("show", "entry:s:1-0"))["content"] == ["\\xffwhatever"]
    assert thumb("trace a").decode() in (await run("show", "a")).stdout.replace("\n", "")


async def test_an_unknown_id_is_an_error(pipeline: Pipeline) -> None:
    for command in ("show", "replay", "discard"):
        result = await run(command, "nobody")
        assert result.exit_code == 2
        assert "no such dead letter: nobody" in result.output


@pytest.mark.parametrize("command", ["replay", "discard"])
async def test_nothing_is_touched_where_nobody_said_what(pipeline: Pipeline, command: str) -> None:
    await keep(pipeline, "a")
    assert (await run(command)).exit_code == 2
    assert await pipeline.redis.hlen(KEY) == 1
    assert await pipeline.redis.xlen(pipeline.stream) == 0


async def test_replay_appends_the_event_with_its_identity_and_takes_the_letter_out(pipeline: Pipeline) -> None:
    letter = await keep(pipeline, "a")
    await keep(pipeline, "stays", "another reason")
    assert await told("replay", "--reason", "why") == {"replayed": 1, "not_replayable": []}
    entries: Any = await pipeline.redis.xrange(pipeline.stream)
    assert [decode(fields[FIELD]) for _, fields in entries] == [letter.envelope]
    assert [left.id for left in await pipeline.letters()] == ["stays"]


async def test_replaying_twice_changes_nothing(pipeline: Pipeline) -> None:
    letter = await keep(pipeline, "a")
    assert letter.envelope is not None
    async with pipeline.worker():
        pass
    for _ in range(2):
        await DeadLetterBox(pipeline.redis, Size(10, MIB)).put([letter])
        assert (await run("replay", "--all")).exit_code == 0
        async with pipeline.worker():
            await pipeline.until_empty()
    assert await pipeline.stored() == {"trace a": 1}
    assert await pipeline.select("SELECT trace_id, vote, events FROM feedback_current") == [("trace a", 1.0, 1)]


async def test_a_letter_of_a_fixed_fault_comes_back_into_the_table(pipeline: Pipeline) -> None:
    async with pipeline.worker():
        await pipeline.append(pipeline.envelope(thumb("good"), thumb("bad"), source="newcomer"))
        await pipeline.until_empty()
    for letter in await pipeline.letters():
        assert letter.envelope is not None
        known = DeadLetter(
            letter.id,
            letter.reason,
            letter.at,
            letter.stream,
            letter.entry_id,
            pipeline.envelope(
                *(event.raw for event in letter.envelope.events),
                request_id=letter.envelope.request_id,
                received_at=letter.envelope.received_at,
                replayed=True,
            ),
        )
        await DeadLetterBox(pipeline.redis, Size(10, MIB)).put([known])
    assert await told("replay", "--all") == {"replayed": 2, "not_replayable": []}
    async with pipeline.worker():
        await pipeline.until_empty()
    assert await pipeline.stored() == {"good": 1, "bad": 1}
    assert await pipeline.letters() == []


async def test_what_still_cannot_be_stored_comes_back_as_the_same_letter(pipeline: Pipeline) -> None:
    async with pipeline.worker():
        await pipeline.append(pipeline.envelope(b"{}"))
        await pipeline.until_empty()
    before = [letter.id for letter in await pipeline.letters()]
    assert (await run("replay", "--all")).exit_code == 0
    assert await pipeline.letters() == []
    async with pipeline.worker():
        await pipeline.until_empty()
    assert [letter.id for letter in await pipeline.letters()] == before


async def test_what_is_no_envelope_is_discarded_not_replayed(pipeline: Pipeline) -> None:
    await keep_no_envelope(pipeline)
    result = await run("replay", "entry:s:1-0")
    assert result.exit_code == 1
    assert "can be shown and discarded, not replayed" in result.output.replace("\n", " ")
    assert await pipeline.redis.hlen(KEY) == 1
    assert (await run("discard", "entry:s:1-0", "--yes")).exit_code == 0
    assert await pipeline.redis.hlen(KEY) == 0


async def test_discarding_asks_first(pipeline: Pipeline) -> None:
    await keep(pipeline, "a")
    refused = await asyncio.to_thread(CliRunner().invoke, app, ["dead-letters", "discard", "--all"], input="n\n")
    assert refused.exit_code == 1
    assert await pipeline.redis.hlen(KEY) == 1


async def test_a_replay_into_a_full_redis_loses_no_letter(pipeline: Pipeline) -> None:
    await keep(pipeline, "a")
    before: Any = await pipeline.redis.config_get("maxmemory")
    await pipeline.redis.config_set("maxmemory", 1)
    try:
        assert (await run("replay", "--all")).exit_code != 0
    finally:
        await pipeline.redis.config_set("maxmemory", before["maxmemory"])
    assert await pipeline.redis.hlen(KEY) == 1
    assert await pipeline.redis.xlen(pipeline.stream) == 0


async def test_many_letters_are_replayed_in_lots(pipeline: Pipeline) -> None:
    box = DeadLetterBox(pipeline.redis, Size(1000, MIB))
    await box.put(
        [DeadLetter(str(n), "why", n, "s", "1-0", pipeline.envelope(thumb(f"t{n}"), replayed=True)) for n in range(250)]
    )
    assert await told("replay", "--all") == {"replayed": 250, "not_replayable": []}
    assert await pipeline.redis.xlen(pipeline.stream) == 250
    assert await pipeline.redis.hlen(KEY) == 0
