"""An entry that is handed out again appears again in its trace."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import pytest

from services.standalone.embedded import EmbeddedServer
from shared.settings import ClickHouseSettings
from tests.integration.worker.events import thumb
from tests.integration.worker.pipeline import open_pipeline
from tests.support.collector import running_collector

from .conftest import tracing

pytestmark = pytest.mark.integration

SENDER = "00f067aa0ba902b7"


async def test_what_a_killed_worker_held_is_told_by_the_one_that_claims_it(
    redis_url: str,
    database: ClickHouseSettings,
    clickhouse: EmbeddedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trace = secrets.token_hex(16)
    with running_collector() as collector:
        for name, value in tracing(collector.url).items():
            monkeypatch.setenv(name, value)
        async with open_pipeline(redis_url, database) as pipeline:
            with pipeline.worker_process(tmp_path / "killed.log") as killed:
                await pipeline.append(pipeline.envelope(thumb("before")))
                await pipeline.until_empty()
                clickhouse.pause()
                held = pipeline.envelope(thumb("held"), traceparent=f"00-{trace}-{SENDER}-01".encode())
                await pipeline.append(held)
                await pipeline.until_pending(1)
                killed.kill()
            clickhouse.resume()
            with pipeline.worker_process(tmp_path / "next.log"):
                await pipeline.until_empty()
                spans = await asyncio.to_thread(collector.trace, trace, 2)
            assert await pipeline.stored() == {"before": 1, "held": 1}
    process, insert = spans
    assert (process.kind, process.parent, process.failed) == ("CONSUMER", SENDER, False)
    assert process.attributes["plaudit.deliveries"] == 2
    assert (insert.kind, insert.parent) == ("CLIENT", process.id)
