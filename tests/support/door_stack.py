"""The real services on real ports, for tests that speak HTTP to the door and SQL to the tables."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import SecretStr

from services.standalone.embedded import EmbeddedServer, embedded_clickhouse, embedded_valkey
from services.standalone.process import free_port
from shared.keys import KeyKind
from shared.keys_admin import KeyAdmin
from shared.migrate import migrate
from shared.settings import ClickHouseSettings
from shared.storage import connect

from .processes import end

LEGACY = "sk-lw-FAKEprojectkey0000000000000000000000000000000000"
SCOPED = "sk-lw-" + "A" * 16 + "_" + "b" * 48
SCOPED_TWICE = "sk-lw-" + "C" * 16 + "_" + "d" * 48
READ_ONLY = "sk-lw-" + "E" * 16 + "_" + "f" * 48
INGESTION = "ik-lw-" + "G" * 16 + "_" + "h" * 48
PUBLIC = "11111111-2222-4333-8444-555555555555"
PRIVATE = "33333333-2222-4333-8444-555555555555"
OTHER_PUBLIC = "77777777-2222-4333-8444-555555555555"

KEYS = [
    ("project_fake", KeyKind.LANGWATCH, LEGACY),
    ("project_fake", KeyKind.LANGWATCH, SCOPED),
    ("project_fake", KeyKind.LANGWATCH, SCOPED_TWICE),
    ("project_two", KeyKind.LANGWATCH, SCOPED_TWICE),
    ("project_fake", KeyKind.READ, READ_ONLY),
    ("project_fake", KeyKind.LANGWATCH, INGESTION),
    ("project_lunary", KeyKind.LUNARY_PUBLIC, PUBLIC),
    ("project_lunary", KeyKind.LUNARY_PRIVATE, PRIVATE),
    ("project_other", KeyKind.LUNARY_PUBLIC, OTHER_PUBLIC),
]


@dataclass
class Stack:
    """A running door with what it needs. ``log`` holds what door and worker wrote."""

    url: str
    valkey: EmbeddedServer
    clickhouse: EmbeddedServer
    redis_url: str
    clickhouse_settings: ClickHouseSettings
    log: Path

    def events(self, where: str, parameters: dict[str, str] | None = None) -> list[dict[str, object]]:
        """Rows of feedback_events, each identity once."""
        client = connect(self.clickhouse_settings)
        try:
            query = f"SELECT * FROM feedback_events FINAL WHERE {where} ORDER BY received_at, event_index"
            return list(client.query(query, parameters).named_results())
        finally:
            client.close()

    def wait_for_events(
        self, where: str, count: int, parameters: dict[str, str] | None = None, seconds: float = 20
    ) -> list[dict[str, object]]:
        """Those rows, as soon as there are ``count``; what there is after ``seconds``."""
        deadline = time.monotonic() + seconds
        while True:
            rows = self.events(where, parameters)
            if len(rows) >= count or time.monotonic() > deadline:
                return rows
            time.sleep(0.1)


@contextlib.contextmanager
def running_stack(folder: Path, **overrides: str) -> Iterator[Stack]:
    """Valkey, ClickHouse with tables and keys, door and worker. ``overrides``: settings of the services."""
    with embedded_valkey(folder) as (redis_url, valkey), embedded_clickhouse(folder) as (clickhouse_url, clickhouse):
        settings = ClickHouseSettings(clickhouse_url=SecretStr(clickhouse_url))
        migrate(settings)
        client = connect(settings)
        admin = KeyAdmin(client)
        for project, kind, token in KEYS:
            admin.add(project, kind, token)
        client.close()
        port = free_port()
        environment = os.environ | {
            "PLAUDIT_REDIS_URL": redis_url,
            "PLAUDIT_CLICKHOUSE_URL": clickhouse_url,
            "PLAUDIT_INGEST_PORT": str(port),
            "PLAUDIT_METRICS_PORT": str(free_port()),
            **overrides,
        }
        log = folder / "services.log"
        with log.open("ab") as output:
            services = [
                subprocess.Popen([sys.executable, "-m", "services.cli", name], env=environment, stderr=output)
                for name in ("ingest", "worker")
            ]
            try:
                url = f"http://127.0.0.1:{port}"
                _wait_until_ready(url, log)
                yield Stack(url, valkey, clickhouse, redis_url, settings, log)
            finally:
                end(services, 30)


@contextlib.contextmanager
def another_service(
    stack: Stack, name: str, port_setting: str, **overrides: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """One more process on the servers of a stack: its URL, and itself. ``overrides``: its settings."""
    port = free_port()
    environment = os.environ | {
        "PLAUDIT_REDIS_URL": stack.redis_url,
        "PLAUDIT_CLICKHOUSE_URL": stack.clickhouse_settings.clickhouse_url.get_secret_value(),
        port_setting: str(port),
        **overrides,
    }
    with stack.log.open("ab") as output:
        service = subprocess.Popen([sys.executable, "-m", "services.cli", name], env=environment, stderr=output)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(url, stack.log)
            yield url, service
        finally:
            end([service], 30)


def _wait_until_ready(url: str, log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/health/ready").status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"the door did not become ready:\n{log.read_text()[-3000:]}")
