"""A project with known feedback, and the reading side over it: real parts, on the embedded servers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import httpx
import pytest
import pytest_asyncio
from clickhouse_connect.driver.client import Client
from pydantic import SecretStr

from services.analytics.app import create_app
from services.analytics.main import build_parts
from services.analytics.refresh import Refresher
from services.worker.entries import Entry, read_entry
from services.worker.prepare import prepare
from services.worker.sink import EventSink
from shared.envelope import FIELD, Envelope, RawEvent, encode
from shared.keys import KeyKind
from shared.keys_admin import KeyAdmin
from shared.settings import AnalyticsSettings, ClickHouseSettings, KeySettings, RedisSettings
from shared.storage import connect
from shared.streams import connect as connect_redis
from shared.streams import partitions

READ_KEY = "plaudit-read-for-tests"
OTHER_KEY = "plaudit-read-of-another-project"
PROJECT = "shop"
OTHER = "rival"


@dataclass
class Store:
    """Inserts feedback as a worker does, in batches, and brings the derived table up to it."""

    settings: ClickHouseSettings
    client: Client
    sink: EventSink
    refresher: Refresher
    _requests: Iterator[int] = field(default_factory=lambda: iter(range(10**9)))
    _waiting: list[Entry] = field(default_factory=list)

    def langwatch(self, trace_id: str, vote: float | None, at: float, *, project: str = PROJECT, **more: Any) -> None:
        """``at``: seconds since 1970. Without a vote: a custom event. ``more``: other fields of the wire."""
        event: dict[str, Any] = {
            "trace_id": trace_id,
            "event_type": "rating" if vote is None else "thumbs_up_down",
            "metrics": {"stars": 3} if vote is None else {"vote": vote},
            "timestamp": round(at * 1000),
        }
        self.insert("langwatch", event | more, at, project)

    def lunary(self, run_id: str, feedback: dict[str, Any], at: float, *, project: str = PROJECT) -> None:
        event = {"event": "feedback", "runId": run_id, "timestamp": round(at * 1000), "feedback": feedback}
        self.insert("lunary", event, at, project)

    def insert(self, source: str, event: dict[str, Any], at: float, project: str = PROJECT) -> None:
        """Received a second after ``at``, under a request of its own; in the tables with the next flush or refresh."""
        request_id = blake2b(str(next(self._requests)).encode(), digest_size=16).digest()
        raw = json.dumps(event, ensure_ascii=False).encode()
        envelope = Envelope(project, source, request_id, round((at + 1) * 1e6), [RawEvent(0, raw)])
        self._waiting.append(read_entry("s", b"0-0", {FIELD: encode(envelope)}))

    def flush(self) -> None:
        """One insert of what waits."""
        prepared = prepare(self._waiting, set())
        assert prepared.rows
        assert not prepared.unstorable
        self.sink.insert(prepared.rows)
        self._waiting.clear()

    def refresh(self) -> None:
        if self._waiting:
            self.flush()
        self.refresher.refresh()


@pytest.fixture
def store(database: ClickHouseSettings) -> Iterator[Store]:
    client = connect(database)
    admin = KeyAdmin(client)
    admin.add(PROJECT, KeyKind.READ, READ_KEY)
    admin.add(OTHER, KeyKind.READ, OTHER_KEY)
    admin.add(PROJECT, KeyKind.LANGWATCH, "sk-lw-for-tests")
    sink = EventSink(database, clock=time.monotonic)
    yield Store(database, client, sink, Refresher(client, settle_after=1.0))
    sink.close()
    client.close()


@pytest.fixture
def redis_settings(redis_url: str) -> RedisSettings:
    return RedisSettings.model_validate({"redis_url": redis_url})


async def drain(settings: RedisSettings, store: Store) -> int:
    """What workers would do with the log, without a window of redeliveries; how many entries there were."""
    redis = connect_redis(settings)
    entries: Any = await redis.xrange(partitions(settings)[0])
    await redis.delete(partitions(settings)[0])
    await redis.aclose()
    prepared = prepare([read_entry("s", entry_id, fields) for entry_id, fields in entries], {b"x" * 16})
    if prepared.rows:
        await asyncio.to_thread(store.sink.insert, prepared.rows)
    await asyncio.to_thread(store.refresh)
    return len(entries)


@dataclass
class Site:
    """The service as its clients see it. ``get`` asks with the project's read key."""

    http: httpx.AsyncClient

    async def get(self, path: str, **parameters: Any) -> Any:
        response = await self.http.get(path, params=parameters, headers={"authorization": f"Bearer {READ_KEY}"})
        assert response.status_code == 200, response.text
        return response.json()


def analytics_settings(**more: Any) -> AnalyticsSettings:
    return AnalyticsSettings.model_validate({"analytics_refresh": False, **more})


@pytest_asyncio.fixture
async def site(store: Store, redis_url: str) -> AsyncIterator[Site]:
    async with running(store.settings, redis_url, analytics_settings()) as site:
        yield site


class running:  # noqa: N801 -- reads as what it is: async with running(...)
    """The application in this process, its duties begun."""

    def __init__(self, clickhouse: ClickHouseSettings, redis_url: str, settings: AnalyticsSettings) -> None:
        redis = RedisSettings(redis_url=SecretStr(redis_url))
        keys = KeySettings(keys_refresh=0.2)
        self._app = create_app(build_parts(settings, redis, clickhouse, keys))
        self._lifespan = self._app.router.lifespan_context(self._app)

    async def __aenter__(self) -> Site:
        await self._lifespan.__aenter__()
        transport = httpx.ASGITransport(app=self._app)
        self._http = httpx.AsyncClient(transport=transport, base_url="http://plaudit.test")
        async with asyncio.timeout(20):
            while (await self._http.get("/health/ready")).status_code != 200:
                await asyncio.sleep(0.02)
        return Site(self._http)

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()
        await self._lifespan.__aexit__(None, None, None)
