"""What a hurried team would write: FastStream's way of one message a handler, one row an insert.

python -m bench.ceilings.one_by_one STREAM GROUP; servers from PLAUDIT_REDIS_URL and PLAUDIT_CLICKHOUSE_URL.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

import clickhouse_connect
import uvloop
from faststream import FastStream
from faststream.redis import RedisBroker, StreamSub
from pydantic import BaseModel
from pydantic_core import Url

from shared.settings import ClickHouseSettings, RedisSettings


class Feedback(BaseModel):
    trace_id: str
    event_type: str
    metrics: dict[str, float]
    event_details: dict[str, str | None] = {}
    timestamp: float | None = None


async def _serve(stream: str, group: str) -> None:
    url = Url(ClickHouseSettings().clickhouse_url.get_secret_value())
    client = await clickhouse_connect.get_async_client(
        host=url.host or "",
        port=url.port,
        username=url.username or "",
        password=url.password or "",
        database=(url.path or "/")[1:],
    )
    await client.command(
        "CREATE TABLE IF NOT EXISTS hurried (trace_id String, event_type String, at DateTime64(3), "
        "metrics Map(String, Float64), details Map(String, Nullable(String))) ENGINE = MergeTree ORDER BY at"
    )
    broker = RedisBroker(RedisSettings().redis_url.get_secret_value())

    @broker.subscriber(stream=StreamSub(stream, group=group, consumer="one", last_id=">"))
    async def handle(feedback: Feedback) -> None:
        at = datetime.now(UTC) if feedback.timestamp is None else datetime.fromtimestamp(feedback.timestamp / 1000, UTC)
        row = [feedback.trace_id, feedback.event_type, at, feedback.metrics, feedback.event_details]
        await client.insert("hurried", [row])

    await FastStream(broker).run()


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(_serve(sys.argv[1], sys.argv[2]))
