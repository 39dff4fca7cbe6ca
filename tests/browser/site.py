"""The real analytics service on a seeded database, for browsers: what tests and screenshots open."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from services.standalone.process import free_port
from services.worker.sink import EventSink
from shared.events import FeedbackEvent, Receipt, Source
from shared.formats import NORMALIZERS
from shared.keys import KeyKind
from shared.keys_admin import KeyAdmin
from shared.migrate import migrate
from shared.settings import ClickHouseSettings
from shared.storage import connect
from shared.times import EPOCH
from tests.support.processes import end

CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
INGEST_URL = "http://feedback.example:8080"


def micros(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


def langwatch(
    project: str,
    trace: str,
    at: datetime,
    *,
    kind: str = "thumbs_up_down",
    metrics: Mapping[str, float] | None = None,
    details: Mapping[str, str | None] | None = None,
    user: str | None = None,
) -> FeedbackEvent:
    """One event as LangWatch's clients send it, received a tenth of a second after it happened."""
    body = {
        "trace_id": trace,
        "event_type": kind,
        "metrics": metrics or {},
        "event_details": details or {},
        "timestamp": micros(at) // 1000,
        "user_id": user,
    }
    return normalized(project, Source.LANGWATCH, body, at)


def lunary(project: str, run: str, at: datetime, feedback: dict[str, Any]) -> FeedbackEvent:
    body = {"event": "feedback", "runId": run, "feedback": feedback, "timestamp": at.isoformat()}
    return normalized(project, Source.LUNARY, body, at)


def normalized(project: str, source: Source, body: dict[str, Any], at: datetime) -> FeedbackEvent:
    receipt = Receipt(
        project_id=project,
        source=source,
        request_id=secrets.token_bytes(16),
        received_at=micros(at) + 100_000,
        entry_id="0-0",
        # As an import marks what is history.
        replayed=at < datetime.now(UTC) - timedelta(minutes=1),
    )
    event = NORMALIZERS[source](receipt, 0, json.dumps(body, ensure_ascii=False).encode())
    assert event is not None
    return event


@dataclass(frozen=True)
class Site:
    """A running analytics service. ``log`` holds what it wrote."""

    url: str
    settings: ClickHouseSettings
    log: Path

    def key(self, project: str, token: str | None = None) -> str:
        """A new read key; with ``token``, that one is for this project, too."""
        client = connect(self.settings)
        try:
            return KeyAdmin(client).add(project, KeyKind.READ, token)
        finally:
            client.close()

    def insert(self, events: Iterable[FeedbackEvent]) -> None:
        """Into the tables, as a worker does."""
        EventSink(self.settings, time.monotonic).insert(list(events))

    def wait_for(self, key: str, events: int, seconds: float = 60) -> None:
        """Until the summary knows as many events."""
        deadline = time.monotonic() + seconds
        now = datetime.now(UTC)
        year = {"from": (now - timedelta(days=365)).isoformat(), "to": (now + timedelta(days=1)).isoformat()}
        while time.monotonic() < deadline:
            answer = httpx.get(
                f"{self.url}/api/summary",
                params={**year, "interval": "week"},
                headers={"authorization": f"Bearer {key}"},
                timeout=30,
            )
            if answer.status_code == 200 and answer.json()["totals"]["events"] >= events:
                return
            time.sleep(0.1)
        raise AssertionError(f"no {events} events after {seconds} s; the last answer: {answer.text[:500]}")


@contextlib.contextmanager
def running_site(
    folder: Path, clickhouse_url: str, redis_url: str, overrides: Sequence[tuple[str, str]] = ()
) -> Iterator[Site]:
    """The service with a database of its own on these servers, until the end of the block."""
    server = clickhouse_url.rpartition("/")[0]
    url = f"{server}/page_{secrets.token_hex(6)}"
    settings = ClickHouseSettings.model_validate({"clickhouse_url": url})
    migrate(settings)
    port = free_port()
    environment = os.environ | {
        "PLAUDIT_CLICKHOUSE_URL": url,
        "PLAUDIT_REDIS_URL": redis_url,
        "PLAUDIT_ANALYTICS_PORT": str(port),
        "PLAUDIT_ANALYTICS_INGEST_URL": INGEST_URL,
        **dict(overrides),
    }
    log = folder / "analytics.log"
    with log.open("ab") as output:
        service = subprocess.Popen(
            [sys.executable, "-m", "services.cli", "analytics"], env=environment, stdout=output, stderr=output
        )
        try:
            site = Site(f"http://127.0.0.1:{port}", settings, log)
            _wait_until_ready(site, service)
            yield site
        finally:
            end([service], 15)


def _wait_until_ready(site: Site, service: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and service.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{site.url}/health/ready").status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"analytics did not become ready:\n{site.log.read_text()[-3000:]}")
