"""Erasing a trace or a person takes everything that is known of it, under whichever id, and nothing that is under way
brings it back: a real log, a real worker, real tables.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from services.analytics.refresh import Refresher
from services.operate.erase import Erased, erase
from shared.dead_letters import DeadLetter, DeadLetterBox, Size, letter_id
from shared.envelope import Envelope, RawEvent
from shared.erasures import ErasureKind
from shared.settings import MIB, ClickHouseSettings
from shared.traces import TRACES, TraceRecord, pack
from tests.integration.worker.pipeline import Pipeline, open_pipeline

pytestmark = pytest.mark.integration

BY_TRACE = ("feedback_events", "feedback_by_trace", "feedback_resolved", "trace_attributes", "trace_aliases")
TABLES = (*BY_TRACE, "trace_aliases_by_trace")
BEFORE = time.time_ns() // 1000 - 60_000_000

RECORDS = [
    TraceRecord("lunary", "m", model="x", user_id="ada"),
    TraceRecord("lunary", "hash", alias_of="m", model="x", user_id="ada"),
    TraceRecord("lunary", "n", model="x", user_id="bob"),
    TraceRecord("lunary", "n-hash", alias_of="n", model="x", user_id="bob"),
    TraceRecord("langwatch", "m", model="y", user_id="eve"),
]


@dataclass
class Told:
    """What clients told of two chats, in the tables."""

    pipeline: Pipeline
    database: ClickHouseSettings

    async def tell(self, *, again: bool = False) -> None:
        """Everything, through the log and a worker of its own. ``again``: as what was under way comes late."""
        await self.pipeline.append(
            self.pipeline.envelope(*self.feedback(), source="lunary", received_at=BEFORE, replayed=again),
            Envelope("p", TRACES, b"t" * 16, BEFORE, list(pack(RECORDS)), replayed=again),
        )
        async with self.pipeline.worker():
            await self.pipeline.until_empty()
        await self.refresh()

    def feedback(self) -> list[bytes]:
        """Up on the message, down later by its hash, where the other vendor calls something the same; bob judged his."""
        said = [("m", "up", 1, "ada"), ("hash", "down", 2, None), ("n", "up", 3, "bob"), ("n-hash", "down", 4, "ada")]
        return [
            json.dumps(
                {
                    "event": "feedback",
                    "runId": run,
                    "timestamp": 1_790_000_000_000 + at,
                    "feedback": {"thumb": thumb},
                    "userId": user,
                }
            ).encode()
            for run, thumb, at, user in said
        ]

    async def refresh(self) -> None:
        def refreshing() -> None:
            Refresher(self.pipeline.client, settle_after=1.0).refresh()

        await asyncio.to_thread(refreshing)

    async def ids(self) -> dict[str, set[str]]:
        """By table, the ids of traces in it."""
        found = {}
        for table in TABLES:
            columns = "[trace_id, alias]" if "aliases" in table else "[trace_id]"
            rows = await self.pipeline.select(
                f"SELECT DISTINCT arrayJoin({columns}) FROM {table} WHERE project_id = 'p'"
            )
            found[table] = {row[0] for row in rows} - {""}
        return found

    async def erase(self, kind: ErasureKind, name: str, settle_for: float = 0.0) -> Erased:
        settings = self.pipeline.redis_settings
        return await erase(settings, self.database, "p", kind, name, report=lambda _: None, settle_for=settle_for)


@pytest_asyncio.fixture
async def told(redis_url: str, database: ClickHouseSettings) -> AsyncIterator[Told]:
    async with open_pipeline(redis_url, database) as pipeline:
        told = Told(pipeline, database)
        await told.tell()
        ids = await told.ids()
        assert ids["feedback_events"] == {"m", "hash", "n", "n-hash"}
        assert ids["feedback_resolved"] >= {"m", "n"}
        assert ids["trace_aliases"] == ids["trace_aliases_by_trace"] == {"m", "hash", "n", "n-hash"}
        yield told


@pytest.mark.parametrize("name", ["m", "hash"])
async def test_a_trace_goes_by_whichever_of_its_ids_it_is_named(told: Told, name: str) -> None:
    done = await told.erase(ErasureKind.TRACE, name)
    assert (done.events, done.ids, done.complete) == (2, 2, True)
    assert set(done.deleted) == set(TABLES)
    assert done.left == dict.fromkeys(TABLES, 0)
    await told.refresh()
    for table, ids in (await told.ids()).items():
        assert "hash" not in ids, table
        assert ("m" in ids) is (table == "trace_attributes" and name == "hash"), table
        assert "n" in ids, table


async def test_what_was_under_way_does_not_come_back_by_any_id_and_later_feedback_is_kept(told: Told) -> None:
    await told.erase(ErasureKind.TRACE, "m")
    await told.tell(again=True)
    for table, ids in (await told.ids()).items():
        assert not ids & {"m", "hash"}, table
    later = json.dumps({"event": "feedback", "runId": "hash", "feedback": {"thumb": "up"}}).encode()
    await told.pipeline.append(told.pipeline.envelope(later, source="lunary"))
    async with told.pipeline.worker():
        await told.pipeline.until_empty()
    assert "hash" in (await told.ids())["feedback_events"]


async def test_what_a_worker_inserts_while_it_does_not_know_yet_is_found(told: Told) -> None:
    async with told.pipeline.worker():
        # Now it knows the tombstones as they were.
        await told.pipeline.append(told.pipeline.envelope(*told.feedback()[2:], source="lunary"))
        await told.pipeline.until_empty()
        erasing = asyncio.create_task(told.erase(ErasureKind.TRACE, "m", settle_for=8.0))
        await asyncio.sleep(1.0)
        late = told.pipeline.envelope(*told.feedback(), source="lunary", received_at=BEFORE, replayed=True)
        records = Envelope("p", TRACES, b"t" * 16, BEFORE, list(pack(RECORDS)), replayed=True)
        await told.pipeline.append(late, records)
        await told.pipeline.until_empty()
        done = await erasing
    assert done.complete
    await told.refresh()
    for table, ids in (await told.ids()).items():
        assert not ids & {"m", "hash"}, table


async def test_a_persons_feedback_and_records_go_and_others_keep_theirs(told: Told) -> None:
    done = await told.erase(ErasureKind.USER, "ada")
    assert (done.events, done.ids, done.complete) == (2, 0, True)
    await told.refresh()
    users = await told.pipeline.select("SELECT DISTINCT user_id FROM trace_attributes ORDER BY user_id")
    assert users == [("bob",), ("eve",)]
    ids = await told.ids()
    assert ids["feedback_events"] == {"hash", "n"}, "what nobody signed and what bob said"
    assert ids["trace_aliases"] == ids["trace_aliases_by_trace"] == {"m", "hash", "n", "n-hash"}, (
        "judged by others still"
    )
    await told.tell(again=True)
    assert ("ada",) not in await told.pipeline.select("SELECT DISTINCT user_id FROM trace_attributes")
    assert ("ada",) not in await told.pipeline.select("SELECT DISTINCT user_id FROM feedback_events")


async def test_ids_of_traces_that_nobody_else_judged_go_with_the_person(told: Told) -> None:
    await told.erase(ErasureKind.USER, "bob")
    assert (await told.ids())["trace_aliases"] == {"m", "hash", "n", "n-hash"}, "ada judged it, by its hash"
    await told.erase(ErasureKind.USER, "ada")
    left = await told.pipeline.select("SELECT alias, trace_id FROM trace_aliases WHERE alias = 'hash'")
    assert left == [("hash", "m")], "somebody whom nobody named"


async def test_dead_letters_with_records_go_too(told: Told) -> None:
    box = DeadLetterBox(told.pipeline.redis, Size(100, MIB))
    held = Envelope("p", TRACES, b"d" * 16, BEFORE, list(pack(RECORDS[:2])))
    others = Envelope("p", TRACES, b"e" * 16, BEFORE, list(pack(RECORDS[2:4])))
    broken = Envelope("p", TRACES, b"f" * 16, BEFORE, [RawEvent(0, b"\xff ada")])
    await box.put([DeadLetter(letter_id(one, 0), "x", 1, "s", "0-0", one) for one in (held, others, broken)])
    done = await told.erase(ErasureKind.USER, "ada")
    assert done.dead_letters == 2
    assert await box.count() == 1


async def test_another_project_keeps_its_own(told: Told) -> None:
    await told.pipeline.append(Envelope("q", TRACES, b"q" * 16, BEFORE, list(pack(RECORDS))))
    async with told.pipeline.worker():
        await told.pipeline.until_empty()
    await told.erase(ErasureKind.TRACE, "m")
    await told.erase(ErasureKind.USER, "ada")
    kept: Any = await told.pipeline.select("SELECT count() FROM trace_attributes FINAL WHERE project_id = 'q'")
    assert kept == [(5,)]


async def test_thousands_of_traces_and_ids_go_however_they_are_spelt(told: Told) -> None:
    """More than fits into a URL; and no id can break out of the statement that names it."""
    await told.pipeline.command(
        "INSERT INTO feedback_events (project_id, source, trace_id, dedupe_id, key_time, received_at, version, user_id) "
        "SELECT 'p', 'lunary', 'it''s \\\\ {x:String} %s ' || repeat('long', 20) || toString(number), 10 + number, "
        "toDateTime64('2026-11-01', 6, 'UTC') AS key_time, key_time, number, 'busy' FROM numbers(5000)"
    )
    await told.pipeline.command(
        "INSERT INTO trace_aliases SELECT 'p', 'lunary', trace_id, 'many', received_at FROM feedback_events "
        "WHERE user_id = 'busy' AND dedupe_id % 2 = 0"
    )
    await told.refresh()
    done = await told.erase(ErasureKind.TRACE, "many")
    assert (done.events, done.ids, done.complete) == (2500, 2501, True)
    done = await told.erase(ErasureKind.USER, "busy")
    assert (done.events, done.complete) == (2500, True)
    assert (await told.ids())["feedback_events"] == {"m", "hash", "n", "n-hash"}
