"""Erasure: a person's feedback is gone from everywhere, stays gone, and others' feedback is as if it had never been."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from services.operate.backfill import ImportOptions, import_file
from services.operate.erase import Erased, erase
from services.worker.entries import read_entry
from services.worker.prepare import prepare
from services.worker.sink import EventSink
from shared.dead_letters import DeadLetter, DeadLetterBox, Size, letter_id
from shared.envelope import FIELD, Envelope, RawEvent, encode
from shared.erasures import ErasureKind, Tombstones, name_hash
from shared.events import Source
from shared.settings import MIB, RedisSettings
from shared.streams import connect as connect_redis
from shared.streams import partitions

from .conftest import OTHER, PROJECT, Store

pytestmark = pytest.mark.integration

NOW = time.time()
TABLES = ("feedback_events", "feedback_by_trace", "feedback_resolved")


@pytest.fixture
def peopled(store: Store) -> Store:
    store.langwatch("shared", 1, NOW - 100, user_id="stays")
    store.langwatch("shared", -1, NOW - 50, user_id="goes", event_details={"feedback": "my name is Bob"})
    store.langwatch("own", -1, NOW - 50, user_id="goes")
    store.langwatch("own", 1, NOW - 50, user_id="goes", project=OTHER)
    store.refresh()
    return store


async def erased(store: Store, redis: RedisSettings, kind: ErasureKind, name: str) -> Erased:
    steps: list[str] = []
    done = await erase(redis, store.settings, PROJECT, kind, name, report=steps.append, settle_for=0.0)
    assert steps
    return done


def count(store: Store, table: str, condition: str) -> int:
    return int(store.client.query(f"SELECT count() FROM {table} WHERE {condition}").result_rows[0][0])


async def test_a_persons_feedback_is_gone_and_what_it_decided_is_decided_anew(
    peopled: Store, redis_settings: RedisSettings
) -> None:
    done = await erased(peopled, redis_settings, ErasureKind.USER, "goes")
    assert (done.events, done.complete) == (2, True)
    assert all(done.deleted[table] >= 2 for table in TABLES), "rows that were superseded go too"
    for table in ("feedback_events", "feedback_resolved"):
        assert count(peopled, table, f"user_id = 'goes' AND project_id = '{PROJECT}'") == 0
    assert count(peopled, "feedback_events", "raw LIKE '%Bob%'") == 0
    peopled.refresh()
    left = peopled.client.query(f"SELECT trace_id, verdict FROM feedback WHERE project_id = '{PROJECT}'").result_rows
    assert [(trace, str(verdict)) for trace, verdict in left] == [("shared", "up")]


async def test_another_project_keeps_its_own(peopled: Store, redis_settings: RedisSettings) -> None:
    await erased(peopled, redis_settings, ErasureKind.USER, "goes")
    assert count(peopled, "feedback_events", f"project_id = '{OTHER}'") == 1


async def test_an_older_delivery_that_names_the_person_is_enough(store: Store, redis_settings: RedisSettings) -> None:
    event: dict[str, Any] = {
        "trace_id": "t",
        "event_type": "thumbs_up_down",
        "metrics": {"vote": 1},
        "timestamp": 1.7e12,
    }
    store.insert("langwatch", {**event, "user_id": "goes"}, NOW - 20)
    store.flush()
    store.insert("langwatch", {**event, "user_id": "other"}, NOW - 10)
    store.refresh()
    done = await erased(store, redis_settings, ErasureKind.USER, "goes")
    assert (done.events, done.complete) == (1, True)
    assert count(store, "feedback_events", "1") == 0


async def test_a_trace_is_erased_whole(peopled: Store, redis_settings: RedisSettings) -> None:
    done = await erased(peopled, redis_settings, ErasureKind.TRACE, "shared")
    assert (done.events, done.complete) == (2, True)
    assert count(peopled, "feedback_events", "trace_id = 'shared'") == 0


async def test_rows_in_flight_do_not_come_back_and_later_feedback_is_kept(
    peopled: Store, redis_settings: RedisSettings
) -> None:
    done = await erased(peopled, redis_settings, ErasureKind.USER, "goes")
    # As a worker that had the entry in hand, a spool that is replayed, a claim: the same envelope again.
    sink = EventSink(peopled.settings, time.monotonic)
    sink.insert(prepare([envelope("goes", NOW - 50), envelope("stays", NOW - 50)], set()).rows)
    assert count(peopled, "feedback_events", "trace_id = 'late'") == 1
    sink.insert(prepare([envelope("goes", time.time() + 5)], set()).rows)
    assert count(peopled, "feedback_events", "trace_id = 'late' AND user_id = 'goes'") == 1
    sink.close()
    assert done.complete


async def test_a_worker_learns_of_a_tombstone_within_seconds(peopled: Store, redis_settings: RedisSettings) -> None:
    now = 0.0
    sink = EventSink(peopled.settings, lambda: now)
    sink.insert(prepare([envelope("stays", NOW)], set()).rows)
    await erased(peopled, redis_settings, ErasureKind.USER, "goes")
    now = 5.0
    sink.insert(prepare([envelope("goes", NOW - 50)], set()).rows)
    sink.close()
    assert count(peopled, "feedback_events", f"user_id = 'goes' AND project_id = '{PROJECT}'") == 0


def envelope(user: str, received: float) -> Any:
    raw = {
        "trace_id": "late",
        "event_type": "thumbs_up_down",
        "metrics": {"vote": 1},
        "timestamp": 1.7e12,
        "user_id": user,
    }
    made = Envelope(
        PROJECT,
        "langwatch",
        user.encode().ljust(16, b"."),
        round(received * 1e6),
        [RawEvent(0, json.dumps(raw).encode())],
    )
    return read_entry("s", b"0-0", {FIELD: encode(made)})


async def test_dead_letters_that_name_the_person_go_too(peopled: Store, redis_settings: RedisSettings) -> None:
    redis = connect_redis(redis_settings)
    box = DeadLetterBox(redis, Size(100, MIB))
    texts = [b'{"userId": "goes", "x": 1}', b'{"user_id": "goes"', b'{"user_id": "goes-not"}', b'{"a": ["stays"]}']
    letters = []
    for number, text in enumerate(texts):
        held = Envelope(PROJECT, "lunary", number.to_bytes(16, "big"), 1, [RawEvent(0, text)])
        letters.append(DeadLetter(letter_id(held, 0), "broken", 1, "s", "0-0", held))
    theirs = Envelope(OTHER, "lunary", (9).to_bytes(16, "big"), 1, [RawEvent(0, texts[0])])
    letters.append(DeadLetter(letter_id(theirs, 0), "broken", 1, "s", "0-0", theirs))
    await box.put(letters)
    done = await erased(peopled, redis_settings, ErasureKind.USER, "goes")
    assert done.dead_letters == 2
    assert await box.count() == 3
    await redis.aclose()


async def test_the_name_itself_is_kept_nowhere(peopled: Store, redis_settings: RedisSettings) -> None:
    await erased(peopled, redis_settings, ErasureKind.USER, "goes")
    assert count(peopled, "erasures", "position(toString(tuple(*)), 'goes') > 0") == 0
    assert count(peopled, "erasures", "1") == 1


async def test_an_old_export_does_not_bring_it_back(
    peopled: Store, redis_settings: RedisSettings, tmp_path: Path
) -> None:
    await erased(peopled, redis_settings, ErasureKind.USER, "goes")
    file = tmp_path / "old.ndjson"
    line = {
        "trace_id": "x",
        "event_type": "thumbs_up_down",
        "metrics": {"vote": 1},
        "timestamp": 1.7e12,
        "user_id": "goes",
    }
    file.write_text(json.dumps(line) + "\n")
    options = ImportOptions(file, Source.LANGWATCH, PROJECT, None, 1000, restart=False)
    await import_file(redis_settings, options, round(time.time() * 1e6), lambda _: None)
    redis = connect_redis(redis_settings)
    entries: Any = await redis.xrange(partitions(redis_settings)[0])
    await redis.aclose()
    ((entry_id, fields),) = entries
    sink = EventSink(peopled.settings, time.monotonic)
    sink.insert(prepare([read_entry("s", entry_id, fields)], set()).rows)
    sink.close()
    assert count(peopled, "feedback_events", "trace_id = 'x'") == 0


def test_nobody_is_taken_for_another(peopled: Store) -> None:
    assert name_hash("a", ErasureKind.USER, "bc") != name_hash("ab", ErasureKind.USER, "c")
    assert name_hash("a", ErasureKind.USER, "b") != name_hash("a", ErasureKind.TRACE, "b")
    assert Tombstones(lambda: 0.0).surviving([]) == []
