"""Scenarios get a stack of their own on the shared servers, a seed, and a line in the table at the end."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from services.standalone.embedded import EmbeddedServer
from shared.keys import KeyKind
from shared.keys_admin import KeyAdmin
from shared.settings import ClickHouseSettings
from shared.storage import connect

from .load import Keys
from .scenario import Figures, Scenario
from .stack import Servers, Stack, Wiring

PROJECT = "chaos"
SEED = int(os.environ.get("PLAUDIT_CHAOS_SEED", "1"))
_FIGURES = pytest.StashKey[list[Figures]]()

StartStack = Callable[..., Stack]


def pytest_configure(config: pytest.Config) -> None:
    config.stash.setdefault(_FIGURES, [])


def pytest_report_header() -> str:
    return f"chaos: PLAUDIT_CHAOS_SEED={SEED}"


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    figures = config.stash[_FIGURES]
    if figures:
        terminalreporter.section(f"chaos, seed {SEED}")
        for line in figures:
            terminalreporter.write_line(line.text())


@pytest.fixture
def servers(
    valkey: EmbeddedServer, clickhouse: EmbeddedServer, redis_url: str, database: ClickHouseSettings
) -> Iterator[Servers]:
    """An empty Redis and a fresh database; whatever a scenario did to the servers is undone after it."""
    client = connect(database)
    admin = KeyAdmin(client)
    keys = Keys(PROJECT, admin.add(PROJECT, KeyKind.LANGWATCH), admin.add(PROJECT, KeyKind.LUNARY_PUBLIC))
    client.close()
    with redis.Redis.from_url(redis_url) as client:
        settings: Any = client.config_get("maxmemory", "appendfsync")
        # What a kill -9 of Redis itself needs: under everysec it puts off writing while a sync is under way.
        _configure(client, appendfsync="always")
    yield Servers(valkey, clickhouse, database, keys)
    for server in (valkey, clickhouse):
        server.resume() if server.running else server.restart()
    with redis.Redis.from_url(redis_url) as client:
        _configure(client, **settings)


def _configure(client: redis.Redis, **settings: str) -> None:
    """Sets, and writes into the server's file, so that it holds after a restart."""
    for name, value in settings.items():
        client.config_set(name, value)
    client.config_rewrite()


@pytest.fixture
def start_stack(servers: Servers, tmp_path: Path) -> Iterator[StartStack]:
    """Starts a stack by the given wiring; it is gone when the test is."""
    with ExitStack() as cleanup:

        def start(*, started: bool = True, **wiring: Any) -> Stack:
            stack = Stack(servers, tmp_path, Wiring(**wiring))
            cleanup.callback(stack.kill_all)
            if started:
                stack.start()
            return stack

        yield start


@pytest.fixture
def scenario(request: pytest.FixtureRequest, tmp_path: Path) -> Scenario:
    """Chance by the suite's seed and the test's name, and the judge of how it ended."""
    name = request.node.name
    return Scenario(name, tmp_path, random.Random(f"{SEED}/{name}"), request.config.stash[_FIGURES].append)
