"""The delay that people are told is the pipeline's: of live feedback, an outage of Redis included, and of nothing else."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from services.ingest_api.spool import Spool, read
from services.operate.backfill import ImportOptions, import_file
from services.operate.dead_letters import DeadLetterDesk
from shared.dead_letters import DeadLetter, DeadLetterBox, Size, letter_id
from shared.envelope import FIELD, Envelope, RawEvent, encode
from shared.events import Source
from shared.settings import MIB, RedisSettings
from shared.streams import connect as connect_redis
from shared.streams import partitions

from .conftest import OTHER, PROJECT, Site, Store, drain

pytestmark = pytest.mark.integration

DAY = 86_400.0


def thumb(trace: str, at: float) -> dict[str, Any]:
    return {
        "trace_id": trace,
        "event_type": "thumbs_up_down",
        "metrics": {"vote": -1},
        "timestamp": round(at * 1000),
    }


def taken(trace: str, at: float, *, project: str = PROJECT, replayed: bool = False) -> Envelope:
    """What the door makes of a request that it takes at ``at``."""
    raw = RawEvent(0, json.dumps(thumb(trace, at)).encode())
    return Envelope(project, "langwatch", trace.encode().ljust(16, b"."), round(at * 1e6), [raw], replayed=replayed)


async def append(settings: RedisSettings, *envelopes: bytes) -> None:
    redis = connect_redis(settings)
    for envelope in envelopes:
        await redis.xadd(partitions(settings)[0], {FIELD: envelope})
    await redis.aclose()


async def delay(site: Site) -> float | None:
    told = (await site.get("/api/pipeline"))["delay_seconds"]
    return float(told) if told is not None else None


async def bring_back(settings: RedisSettings, store: Store, folder: Path) -> None:
    """A backfill, twice, and a replay of dead letters: all of it feedback of weeks ago."""
    file = folder / "old.ndjson"
    file.write_text("".join(json.dumps(thumb(f"old-{n}", time.time() - 53 * DAY - n)) + "\n" for n in range(50)))
    options = ImportOptions(file, Source.LANGWATCH, PROJECT, None, 1000, restart=False)
    for _ in range(2):
        await import_file(settings, options, round(time.time() * 1e6), lambda _: None)
        assert await drain(settings, store) == 50
    redis = connect_redis(settings)
    held = taken("letter", time.time() - 9 * DAY, replayed=True)
    await DeadLetterBox(redis, Size(100, MIB)).put([DeadLetter(letter_id(held, 0), "broken", 1, "s", "0-0", held)])
    letters = [letter async for letter in DeadLetterBox(redis).all()]
    await redis.aclose()
    assert (await DeadLetterDesk(settings).replay(letters, lambda _: None)).replayed == 1
    assert await drain(settings, store) == 1


async def test_imports_and_replays_are_no_delay(
    store: Store, site: Site, redis_settings: RedisSettings, tmp_path: Path
) -> None:
    await bring_back(redis_settings, store, tmp_path)
    assert len((await site.get("/api/events", **{"from": "2020-01-01"}))["events"]) == 50, "they are there"
    assert await delay(site) is None


async def test_live_feedback_is_told_beside_them(
    store: Store, site: Site, redis_settings: RedisSettings, tmp_path: Path
) -> None:
    await append(redis_settings, encode(taken("live", time.time() - 2)))
    await drain(redis_settings, store)
    await bring_back(redis_settings, store, tmp_path)
    told = await delay(site)
    assert told is not None
    assert 2 <= told < 20


async def test_importing_what_came_in_live_just_now_changes_nothing(
    store: Store, site: Site, redis_settings: RedisSettings, tmp_path: Path
) -> None:
    """A client that was offline tells an old time: its import counts as received then."""
    old = time.time() - 3 * DAY
    live = Envelope(
        PROJECT, "langwatch", b"l" * 16, round(time.time() * 1e6), [RawEvent(0, json.dumps(thumb("t", old)).encode())]
    )
    await append(redis_settings, encode(live))
    await drain(redis_settings, store)
    file = tmp_path / "again.ndjson"
    file.write_text(json.dumps(thumb("t", old)) + "\n")
    options = ImportOptions(file, Source.LANGWATCH, PROJECT, None, 1000, restart=False)
    await import_file(redis_settings, options, round(time.time() * 1e6), lambda _: None)
    await drain(redis_settings, store)
    assert len((await site.get("/api/events", **{"from": "2020-01-01"}))["events"]) == 1
    told = await delay(site)
    assert told is not None
    assert told < 20


async def test_what_waited_in_a_spool_was_late(
    store: Store, site: Site, redis_settings: RedisSettings, tmp_path: Path
) -> None:
    spool = Spool(tmp_path, capacity=1 << 20)
    spool.append([[encode(taken(f"spooled-{n}", time.time() - 3600))] for n in range(9)])
    segment = spool.oldest()
    assert segment is not None
    await append(redis_settings, *(envelope for record in read(segment) for envelope in record))
    spool.remove(segment)
    spool.close()
    await drain(redis_settings, store)
    told = await delay(site)
    assert told is not None
    assert 3600 <= told < 3660


async def test_each_project_is_told_its_own(store: Store, site: Site, redis_settings: RedisSettings) -> None:
    await append(redis_settings, encode(taken("theirs", time.time() - 3600, project=OTHER)))
    await drain(redis_settings, store)
    assert await delay(site) is None
