"""Keeping the derived table up: who does it, and that nothing is passed over whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from services.analytics.freshness import LEASE, PROGRESS, RefreshDuty
from services.analytics.refresh import Refresher
from shared.settings import RedisSettings
from shared.storage import connect
from shared.streams import connect as connect_redis
from shared.tasks import call_off

from .conftest import PROJECT, Store

pytestmark = pytest.mark.integration

NOW = time.time()


def verdicts(store: Store) -> dict[str, str]:
    rows = store.client.query(
        "SELECT trace_id, verdict FROM feedback WHERE project_id = {p:String} AND verdict != 'none'", {"p": PROJECT}
    ).result_rows
    return {trace: str(verdict) for trace, verdict in rows}


def test_an_event_whose_time_changes_leaves_its_former_place(store: Store) -> None:
    store.langwatch("t", 1, NOW - 500, event_id="e1")
    store.refresh()
    store.langwatch("t", -1, NOW - 9000, event_id="e1")
    store.flush()
    store.client.command(
        "INSERT INTO feedback_events SELECT * REPLACE(received_at + INTERVAL 3 HOUR AS received_at, version + bitShiftLeft(toUInt128(10800000000), 64) AS version) "
        "FROM feedback_events WHERE vote = -1"
    )
    store.refresh()
    rows = store.client.query("SELECT toUnixTimestamp(time), vote FROM feedback").result_rows
    assert rows == [(int(NOW - 9000), -1.0)]
    store.refresh()
    tombstones = "SELECT count() FROM feedback_resolved WHERE gone"
    assert store.client.query(tombstones).result_rows == [(1,)], "what is gone is not buried twice"


def test_an_insert_that_becomes_visible_late_is_taken(store: Store) -> None:
    """Its stamp is older than the last refresh, as of an insert that took its time."""
    refresher = Refresher(store.client, settle_after=30.0)
    refresher.refresh()
    store.langwatch("late", 1, NOW)
    store.flush()
    hold(store, "feedback_changes", "*")
    refresher.refresh()
    refresher.refresh()
    assert verdicts(store) == {}
    store.client.command("INSERT INTO feedback_changes SELECT * FROM held")
    refresher.refresh()
    assert verdicts(store) == {"late": "up"}


def test_an_insert_whose_rows_arrive_after_its_stamp_is_taken_again(store: Store) -> None:
    refresher = Refresher(store.client, settle_after=6.0)
    refresher.refresh()
    store.langwatch("t", 1, NOW)
    store.flush()
    columns = (
        "project_id, source, trace_id, dedupe_id, first_received, last_received, standing, key_time, first_inserted"
    )
    hold(store, "feedback_by_trace", columns)
    refresher.refresh()
    assert verdicts(store) == {}, "the stamp was there before the rows"
    store.client.command(f"INSERT INTO feedback_by_trace ({columns}) SELECT {columns} FROM held")
    deadline = time.monotonic() + 30
    while not verdicts(store) and time.monotonic() < deadline:
        refresher.refresh()
    assert verdicts(store) == {"t": "up"}, "nobody looked again when the insert was over"


def hold(store: Store, table: str, columns: str) -> None:
    """Takes the table's rows out, to be put back later."""
    store.client.command(f"CREATE TABLE held ENGINE = Memory AS SELECT {columns} FROM {table}")
    store.client.command(f"TRUNCATE TABLE {table}")


def test_whoever_was_away_longer_than_the_log_is_kept_derives_everything_anew(store: Store) -> None:
    store.langwatch("t", 1, NOW)
    store.refresh()
    store.refresher.save()
    store.langwatch("unlogged", -1, NOW)
    store.flush()
    store.client.command("TRUNCATE TABLE feedback_changes")
    store.client.command(
        "ALTER TABLE feedback_refreshes UPDATE as_of = as_of - INTERVAL 7 DAY WHERE 1 SETTINGS mutations_sync = 2"
    )
    Refresher(store.client, settle_after=1.0).refresh()
    assert verdicts(store) == {"t": "up", "unlogged": "down"}


def test_deriving_anew_in_slices_says_what_deriving_at_once_says(store: Store) -> None:
    for number in range(40):
        store.langwatch(f"t{number}", 1, NOW - 5000 + 10 * number)
        # Later events of the same trace fall into other slices.
        store.langwatch(f"t{number}", (-1, 0)[number % 2], NOW - 4000 + 90 * number)
    store.refresh()
    at_once = verdicts(store)
    assert set(at_once.values()) == {"down", "undone"}
    store.client.command("TRUNCATE TABLE feedback_resolved")
    assert verdicts(store) == {}
    Refresher(store.client, settle_after=1.0, slice_rows=9).rebuild()
    assert verdicts(store) == at_once
    generations = store.client.query("SELECT uniqExact(generation) FROM feedback_resolved FINAL").result_rows
    assert generations[0][0] > 1, "it was not sliced"


def test_what_has_settled_is_merged_into_what_is_older(store: Store) -> None:
    """However different their sizes: FINAL is dear where parts lie over each other."""
    store.client.command("ALTER TABLE feedback_resolved MODIFY SETTING min_age_to_force_merge_seconds = 1")
    columns = "project_id, time, dedupe_id, generation, received_at"
    rows = "SELECT 'p', toDateTime64('2026-01-01', 6, 'UTC') + number, number, {}, now() FROM numbers({})"
    for generation, count in ((1, 200_000), (2, 5), (3, 5)):
        store.client.command(f"INSERT INTO feedback_resolved ({columns}) {rows.format(generation, count)}")
    parts = (
        "SELECT count() FROM system.parts WHERE active AND database = currentDatabase() AND table = 'feedback_resolved'"
    )
    deadline = time.monotonic() + 60
    while (left := store.client.query(parts).result_rows[0][0]) > 1 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == 1


def test_of_two_that_write_at_once_the_one_that_read_later_wins(store: Store) -> None:
    slow = Refresher(connect(store.settings), settle_after=1.0)
    slow.refresh()
    store.langwatch("t", 1, NOW - 60)
    store.refresh()
    generation = store.client.query("SELECT max(generation) FROM feedback_resolved").result_rows[0][0]
    store.langwatch("t", 0, NOW)
    store.refresh()
    # What the slow one read before the undo, written only now.
    store.client.command(
        "INSERT INTO feedback_resolved SELECT * FROM feedback_resolved WHERE generation = {g:UInt64}", {"g": generation}
    )
    assert verdicts(store) == {"t": "undone"}
    slow.client.close()


Duties = Callable[[], RefreshDuty]


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    redis = connect_redis(RedisSettings.model_validate({"redis_url": redis_url}))
    yield redis
    await redis.aclose()


@pytest.fixture
def duty(store: Store, redis: Redis) -> Duties:
    return lambda: RefreshDuty(
        redis, lambda: connect(store.settings), interval=0.05, settle_after=1.0, clock=time.monotonic
    )


async def test_one_process_refreshes_and_another_takes_over_when_it_leaves(
    store: Store, redis: Redis, duty: Duties
) -> None:
    first, second = asyncio.create_task(duty().run()), asyncio.create_task(duty().run())
    async with asyncio.timeout(20):
        while await redis.get(PROGRESS) is None:
            await asyncio.sleep(0.02)
        holder = await redis.get(LEASE)
        for leaving in (first, second):
            store.langwatch(f"t{id(leaving)}", 1, NOW)
            await asyncio.to_thread(store.flush)
            while f"t{id(leaving)}" not in verdicts(store):
                await asyncio.sleep(0.05)
            await call_off([leaving])
    assert holder is not None
    assert await redis.get(LEASE) is None, "who leaves lets go at once"


async def test_a_lease_whose_holder_died_runs_out(store: Store, redis: Redis, duty: Duties) -> None:
    await redis.set(LEASE, "a process that was killed", px=400)
    task = asyncio.create_task(duty().run())
    await asyncio.sleep(0.15)
    assert await redis.get(PROGRESS) is None
    async with asyncio.timeout(20):
        while await redis.get(PROGRESS) is None:
            await asyncio.sleep(0.05)
    await call_off([task])
