"""The whole house on servers of its own, with two tenants in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.standalone.embedded import EmbeddedServer, embedded_clickhouse, embedded_valkey
from services.standalone.process import free_port
from services.standalone.services import Backends, analytics_spec, ingest_spec, worker_spec
from shared.keys import KeyKind
from shared.keys_admin import KeyAdmin
from shared.migrate import migrate
from shared.settings import ClickHouseSettings
from shared.storage import connect
from tests.chaos.pieces import Piece


@dataclass(frozen=True)
class Tenant:
    """A project with a key of each kind."""

    project: str
    keys: dict[KeyKind, str] = field(repr=False)


@dataclass(frozen=True)
class House:
    """``passwords``: of the servers."""

    folder: Path
    door: str
    analytics: str
    worker_metrics: str
    pieces: list[Piece]
    valkey: EmbeddedServer
    clickhouse: EmbeddedServer
    database: ClickHouseSettings
    ours: Tenant
    theirs: Tenant


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Door, worker and analytics, as in production but for short times."""
    folder = tmp_path_factory.mktemp("house")
    with embedded_valkey(folder) as (redis_url, valkey), embedded_clickhouse(folder) as (clickhouse_url, clickhouse):
        database = ClickHouseSettings(clickhouse_url=SecretStr(clickhouse_url))
        migrate(database)
        client = connect(database)
        admin = KeyAdmin(client)
        ours, theirs = (
            Tenant(project, {kind: admin.add(project, kind) for kind in KeyKind}) for project in ("ours", "theirs")
        )
        client.close()
        ports = [free_port() for _ in range(3)]
        backends = Backends(redis_url, clickhouse_url)
        specs = [
            ingest_spec(ports[0], backends, folder / "spool"),
            worker_spec(1, ports[1], backends),
            analytics_spec(ports[2], f"http://127.0.0.1:{ports[0]}", backends),
        ]
        short = {"PLAUDIT_INGEST_BODY_TIMEOUT": "1", "PLAUDIT_INGEST_KEEP_ALIVE": "2", "PLAUDIT_LOG_LEVEL": "debug"}
        pieces = []
        for spec in specs:
            piece = Piece(spec, folder / f"{spec.name}.log")
            spec.env.update(short)  # type: ignore[attr-defined]
            piece.start()
            pieces.append(piece)
        try:
            for piece in pieces:
                piece.wait_ready()
            door, worker, analytics = (f"http://127.0.0.1:{port}" for port in ports)
            yield House(folder, door, analytics, worker, pieces, valkey, clickhouse, database, ours, theirs)
        finally:
            for piece in pieces:
                piece.kill()
