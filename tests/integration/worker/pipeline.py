"""A log, a database and workers between them, for the tests of the worker."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickhouse_connect.driver.client import Client
from redis.asyncio import Redis

from services.worker.main import work
from shared.dead_letters import DeadLetter, DeadLetterBox
from shared.envelope import FIELD, Envelope, RawEvent, encode
from shared.settings import ClickHouseSettings, RedisSettings, WorkerSettings
from shared.storage import connect as connect_clickhouse
from shared.streams import Backlog, backlog, connect, partitions

PATIENCE = 30.0
"""Seconds until a test gives up waiting for what must happen."""

QUICK: dict[str, Any] = {
    "worker_batch_age": 0.05,
    "worker_read_block": 0.1,
    "worker_retry_base": 0.02,
    "worker_retry_cap": 0.1,
    "worker_claim_idle": 1.0,
    "worker_drain_timeout": 10.0,
    "metrics_port": 0,
}


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    """Waits until ``check`` holds."""
    deadline = time.monotonic() + PATIENCE
    while not await check():
        assert time.monotonic() < deadline, "it never happened"
        await asyncio.sleep(0.05)


@dataclass
class Pipeline:
    redis_settings: RedisSettings
    database: ClickHouseSettings
    redis: Redis
    client: Client

    @property
    def stream(self) -> str:
        return partitions(self.redis_settings)[0]

    def envelope(self, *events: bytes, **more: Any) -> Envelope:
        fields = {"project_id": "p", "source": "langwatch", "received_at": time.time_ns() // 1000, **more}
        fields.setdefault("request_id", os.urandom(16))
        return Envelope(events=[RawEvent(index, raw) for index, raw in enumerate(events)], **fields)

    async def append(self, *envelopes: Envelope) -> None:
        pipe = self.redis.pipeline(transaction=False)
        for envelope in envelopes:
            pipe.xadd(self.stream, {FIELD: encode(envelope)})
        await pipe.execute()

    async def log(self) -> Backlog:
        return await backlog(self.redis, partitions(self.redis_settings), self.redis_settings.consumer_group)

    async def until_empty(self) -> None:
        """Until all that was appended has left the log."""

        async def empty() -> bool:
            return (await self.log()).length == 0

        await eventually(empty)

    async def until_pending(self, count: int) -> None:
        async def pending() -> bool:
            return (await self.log()).pending == count

        await eventually(pending)

    async def consumers(self) -> list[str]:
        found: Any = await self.redis.xinfo_consumers(self.stream, self.redis_settings.consumer_group)
        return [consumer["name"].decode() for consumer in found]

    async def letters(self) -> list[DeadLetter]:
        return [letter async for letter in DeadLetterBox(self.redis).all()]

    async def select(self, query: str) -> list[Any]:
        """Rows as tuples."""
        result = await asyncio.to_thread(self.client.query, query, tz_mode="aware")
        return [tuple(row) for row in result.result_rows]

    async def command(self, statement: str) -> None:
        await asyncio.to_thread(self.client.command, statement)

    async def stored(self) -> dict[str, int]:
        """By trace, how many events an analyst counts."""
        rows = await self.select("SELECT trace_id, count() FROM feedback_events FINAL GROUP BY trace_id")
        return dict(rows)

    @asynccontextmanager
    async def worker(self, **settings: Any) -> AsyncIterator[asyncio.Task[None]]:
        """A worker in this process; on leaving, it drains."""
        stop = asyncio.Event()
        of_redis = {name: value for name, value in settings.items() if name in RedisSettings.model_fields}
        redis_settings = self.redis_settings.model_copy(update=of_redis)
        running = asyncio.create_task(
            work(redis_settings, self.database, WorkerSettings.model_validate({**QUICK, **settings}), stop)
        )
        try:
            yield running
        finally:
            stop.set()
            await asyncio.wait_for(running, PATIENCE)

    @contextmanager
    def worker_process(self, log: Path, **settings: Any) -> Iterator[WorkerProcess]:
        """A worker as in production; killed on leaving, if it still runs."""
        environment = {
            "PLAUDIT_REDIS_URL": self.redis_settings.redis_url.get_secret_value(),
            "PLAUDIT_CLICKHOUSE_URL": self.database.clickhouse_url.get_secret_value(),
            **{f"PLAUDIT_{name.upper()}": str(value) for name, value in {**QUICK, **settings}.items()},
        }
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "services.cli", "worker"], env={**os.environ, **environment}, stderr=output
            )
        worker = WorkerProcess(process, log)
        try:
            yield worker
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


@dataclass(frozen=True)
class WorkerProcess:
    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def exit_status(self) -> int:
        return await asyncio.wait_for(asyncio.to_thread(self.process.wait), PATIENCE)

    async def until_logged(self, text: str) -> None:
        async def logged() -> bool:
            return text in self.log.read_text()

        await eventually(logged)


@asynccontextmanager
async def open_pipeline(redis_url: str, database: ClickHouseSettings) -> AsyncIterator[Pipeline]:
    redis_settings = RedisSettings.model_validate({"redis_url": redis_url})
    redis = connect(redis_settings)
    client = connect_clickhouse(database)
    try:
        yield Pipeline(redis_settings, database, redis, client)
    finally:
        client.close()
        await redis.aclose()
