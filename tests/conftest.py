"""The servers that tests share: embedded, started once a session, on free ports, with data in a temporary folder."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from services.standalone.embedded import EmbeddedServer, embedded_clickhouse, embedded_valkey
from shared.migrate import migrate
from shared.settings import ClickHouseSettings
from shared.storage import connect


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A Valkey process. A test that stops it need not start it again."""
    with embedded_valkey(tmp_path_factory.mktemp("valkey")) as (_, server):
        yield server


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A ClickHouse process. A test that stops it need not start it again."""
    with embedded_clickhouse(tmp_path_factory.mktemp("clickhouse")) as (_, server):
        yield server


@pytest.fixture
def redis_url(valkey: EmbeddedServer) -> str:
    """Where an empty Redis answers."""
    import redis

    _ensure_up(valkey)
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    return valkey.url


@pytest.fixture
def database(clickhouse: EmbeddedServer) -> Iterator[ClickHouseSettings]:
    """A migrated database of the test's own."""
    _ensure_up(clickhouse)
    name = f"test_{secrets.token_hex(6)}"
    server = clickhouse.url.rpartition("/")[0]
    settings = ClickHouseSettings.model_validate({"clickhouse_url": f"{server}/{name}"})
    migrate(settings)
    yield settings
    _ensure_up(clickhouse)
    client = connect(settings)
    client.command(f"DROP DATABASE `{name}`")
    client.close()


def _ensure_up(server: EmbeddedServer) -> None:
    if server.running:
        server.resume()
    else:
        server.restart()
