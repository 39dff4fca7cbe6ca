"""Three real masters; the log is spread over them, and one dies and comes back under load."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot

from services.operate.dead_letters import DeadLetterDesk
from services.operate.doctor import examine
from shared.dead_letters import DeadLetter, DeadLetterBox, Size, letter_id
from shared.envelope import Envelope, RawEvent
from shared.settings import MIB, ClickHouseSettings, RedisSettings
from shared.streams import backlog, connect, connect_to, ensure_group, memory, partitions, settle

from .conftest import Server
from .pipeline import FAULTS, pipeline

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

PARTITIONS = 6


def url(masters: list[Server]) -> str:
    return "redis+cluster://" + ",".join(f"127.0.0.1:{master.port}" for master in masters)


def settings(masters: list[Server]) -> RedisSettings:
    return RedisSettings.model_validate({"redis_url": url(masters), "stream_partitions": PARTITIONS})


async def test_the_partitions_lie_on_all_masters(cluster: list[Server]) -> None:
    thirds = {key_slot(stream.encode()) * 3 // 16384 for stream in partitions(settings(cluster))}
    assert thirds == {0, 1, 2}


async def test_what_every_process_asks_of_the_log_is_answered_by_a_cluster(cluster: list[Server]) -> None:
    where = settings(cluster)
    redis = connect(where)
    group = where.consumer_group
    for stream in partitions(where):
        await ensure_group(redis, stream, group)
        holder = connect_to(where, stream)
        entries: list[Any] = [await holder.xadd(stream, {"envelope": b"x"}) for _ in range(3)]
        await holder.xreadgroup(group, "me", {stream: ">"}, count=2)
        await holder.aclose()
        assert await settle(redis, stream, group, entries[:1]) == 1
    state = await backlog(redis, partitions(where), group)
    assert (state.length, state.pending, state.consumers) == (2 * PARTITIONS, PARTITIONS, 1)
    used, most = await memory(redis)
    assert 0 < used < most == 200 << 20
    await redis.aclose()


async def test_the_doctor_looks_at_every_master(cluster: list[Server]) -> None:
    cluster[2].ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    away = ClickHouseSettings.model_validate({"clickhouse_url": "http://127.0.0.1:1/plaudit"})
    findings = await examine(settings(cluster), away)
    policies = {(found.level, found.found) for found in findings if found.subject == "redis maxmemory-policy"}
    assert policies == {("ok", "noeviction"), ("error", "allkeys-lru")}


async def test_dead_letters_are_replayed_into_a_cluster(cluster: list[Server]) -> None:
    where = settings(cluster)
    redis = connect(where)
    envelopes = [
        Envelope("p", "lunary", number.to_bytes(16, "big"), 1, [RawEvent(0, b"{}")], replayed=True)
        for number in range(1 << 120, (1 << 120) * 12, 1 << 120)
    ]
    letters = [DeadLetter(letter_id(e, 0), "because", 1, "s", "1-1", e) for e in envelopes]
    await DeadLetterBox(redis, Size(100, MIB)).put(letters)
    done = await DeadLetterDesk(where).replay(letters, lambda _: None)
    assert done.replayed == len(letters)
    assert await DeadLetterBox(redis, Size(100, MIB)).count() == 0
    assert (await backlog(redis, partitions(where), where.consumer_group)).length == len(letters)
    await redis.aclose()


@pytest.mark.parametrize("victims", [[1], [0, 1, 2]], ids=["one", "all"])
def test_nothing_is_lost_or_doubled_and_no_process_ends_while_masters_die_and_return(
    cluster: list[Server], database: ClickHouseSettings, tmp_path: Path, victims: list[int]
) -> None:
    env = {"PLAUDIT_STREAM_PARTITIONS": str(PARTITIONS)}
    with pipeline(tmp_path, database, url(cluster), env) as running:
        load = running.load(6_000, 600)
        time.sleep(3)
        for number in victims:
            cluster[number].kill()
        time.sleep(3)
        for number in victims:
            cluster[number].start()
        load.wait(150)
        report = running.verdict()
        verified = report["verified"]
        assert {name: verified[name] for name in FAULTS} == dict.fromkeys(FAULTS, 0), running.logs()
        # The partitions of the other masters went on.
        assert verified["accepted"] > (3_000 if len(victims) == 1 else 1_000)
        assert set(report["sent"]["statuses"]) <= {"200", "503"}
        if report["sent"]["statuses"].get("503", 0) == 0:
            pytest.fail("the death of a master was not noticed: the test does not test what it says")
