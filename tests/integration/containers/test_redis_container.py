"""The log on a Redis of its own, in a container: what is appended survives the container being killed."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.ingest_api.publisher import Limits, Publisher
from services.operate.doctor import examine
from services.worker.entries import Holdings
from services.worker.read_size import ReadSize
from services.worker.recovery import Claimed, Membership, Recovery
from shared.envelope import Envelope, RawEvent, decode
from shared.settings import ClickHouseSettings, RedisSettings
from shared.streams import backlog, connect, ensure_group, settle
from shared.telemetry import IngestMetrics

pytestmark = [pytest.mark.containers, pytest.mark.integration]

STREAM, GROUP = "plaudit:feedback:{0}", "plaudit-workers"


def settings_of(container: Any) -> RedisSettings:
    # Asked anew each time: the port on the host changes when a container is started again.
    url = f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"
    return RedisSettings(redis_url=SecretStr(url))


async def answering(container: Any) -> Redis:
    deadline = time.monotonic() + 30
    while True:
        redis = connect(settings_of(container))
        try:
            await redis.ping()
        except (RedisError, OSError):
            await redis.aclose()
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            return redis


async def publish(redis: Redis, numbers: range) -> None:
    limits = Limits(batch=500, queue=20_000, queue_bytes=1 << 26, timeout=10, lanes=2)
    publisher = Publisher(redis, [STREAM], limits, IngestMetrics(), clock=time.monotonic)
    running = asyncio.create_task(publisher.run())
    await asyncio.sleep(0)
    await asyncio.gather(
        *(
            publisher.append([Envelope("p", "langwatch", n.to_bytes(16, "big"), n, [RawEvent(0, b"{}")])])
            for n in numbers
        )
    )
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_acknowledged_entries_and_the_pending_list_survive_a_killed_container(redis_container: Any) -> None:
    redis = await answering(redis_container)
    await redis.flushall()
    await ensure_group(redis, STREAM, GROUP)
    await publish(redis, range(2000))
    await redis.xreadgroup(GROUP, "dead", {STREAM: ">"}, count=500)
    await redis.bgrewriteaof()
    await redis.config_set("appendfsync", "always")
    await publish(redis, range(2000, 2100))
    await redis.aclose()

    redis_container.get_wrapped_container().kill("SIGKILL")
    redis_container.get_wrapped_container().start()
    redis = await answering(redis_container)
    state = await backlog(redis, [STREAM], GROUP)
    assert (state.length, state.pending) == (2100, 500)

    got: set[bytes] = set()

    async def take(claimed: list[Claimed]) -> None:
        for item in claimed:
            assert item.entry.envelope is not None
            got.add(item.entry.envelope.request_id)
            assert item.deliveries == 2
        await settle(redis, STREAM, GROUP, [item.entry.entry_id for item in claimed])

    recovery = Recovery(
        redis,
        Membership([STREAM], GROUP, "alive"),
        Holdings(time.monotonic),
        ReadSize(1 << 20),
        claim_idle=0.001,
        claim_count=200,
    )
    await asyncio.sleep(0.01)
    assert await recovery.claim(take) == 500
    reply: Any = await redis.xreadgroup(GROUP, "alive", {STREAM: ">"}, count=5000)
    entries = reply[0][1]
    got |= {decode(fields[b"envelope"]).request_id for _, fields in entries}
    await settle(redis, STREAM, GROUP, [entry_id for entry_id, _ in entries])
    assert got == {n.to_bytes(16, "big") for n in range(2100)}
    assert (await backlog(redis, [STREAM], GROUP)).length == 0
    await redis.aclose()


async def test_doctor_approves_of_a_redis_set_up_as_documented(redis_container: Any) -> None:
    await (await answering(redis_container)).aclose()
    away = ClickHouseSettings(clickhouse_url=SecretStr("http://127.0.0.1:1/plaudit"))
    findings = await examine(settings_of(redis_container), away)
    assert {finding.level for finding in findings if finding.subject.startswith("redis")} == {"ok"}
    assert [finding.level for finding in findings if finding.subject == "clickhouse"] == ["error"]
