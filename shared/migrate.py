"""Migrations: numbered .sql files, applied in order, each recorded with its checksum.

Many processes may run them at once: every statement is idempotent (IF NOT EXISTS, OR REPLACE), and so is the
record of it. One set of files serves a single node and a cluster: ``${on_cluster}`` and ``${replicated}`` in them
are empty on a single node (see shared.cluster).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import structlog
from clickhouse_connect.driver.exceptions import ClickHouseError

from shared.cluster import TABLES_QUERY, Layout, Table
from shared.errors import MigrationError
from shared.storage import connect, describe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clickhouse_connect.driver.client import Client

    from shared.settings import ClickHouseSettings

log = structlog.get_logger()

_FILE_NAME = re.compile(r"(\d{4})_\w+\.sql")
_STATEMENT_END = re.compile(r";[ \t]*$", re.MULTILINE)
_VIEW = re.compile(r"^CREATE (?:OR REPLACE )?VIEW (?:IF NOT EXISTS )?(\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    def statements(self, layout: Layout) -> Iterator[str]:
        """A statement ends with a semicolon at the end of a line."""
        for statement in _STATEMENT_END.split(layout.render(self.text)):
            if any(line.strip() and not line.lstrip().startswith("--") for line in statement.splitlines()):
                yield statement.strip()


def available() -> list[Migration]:
    """All migrations of this release, in order."""
    found = (
        Migration(int(match[1]), file.name, file.read_text(encoding="utf-8"))
        for file in resources.files("shared.migrations").iterdir()
        if (match := _FILE_NAME.fullmatch(file.name))
    )
    return sorted(found, key=lambda migration: migration.number)


def pending(client: Client, migrations: list[Migration]) -> list[Migration]:
    """Those not applied yet.

    Raises MigrationError for one that was applied with another text: tables and release have come apart.
    Records of newer releases are fine: an old release must run on during an upgrade.
    """
    rows = client.query("SELECT number, checksum FROM schema_migrations FINAL").result_rows
    applied: dict[int, str] = {row[0]: row[1] for row in rows}
    for migration in migrations:
        known = applied.get(migration.number)
        if known is not None and known != migration.checksum:
            raise MigrationError(migration.name, "was applied with another text; migrations are never edited")
    return [migration for migration in migrations if migration.number not in applied]


def migrate(settings: ClickHouseSettings) -> list[str]:
    """Brings the tables to this release; returns the names of what was applied now.

    Raises StoreUnavailableError or MigrationError.
    """
    layout = Layout.of(settings)
    server = connect(settings, with_database=False)
    try:
        for name in layout.databases:
            server.command(layout.create_database(name))
    except ClickHouseError as error:
        raise MigrationError("the database", describe(error)) from error
    finally:
        server.close()
    client = connect(layout.at_home(settings))
    try:
        client.command(layout.record_table)
        todo = pending(client, available())
        for migration in todo:
            _apply(client, migration, layout)
        if layout.cluster:
            tables = [Table(*row) for row in client.query(TABLES_QUERY).result_rows]
            for statement in layout.distributed(tables):
                client.command(statement)
            _make_views(settings, layout)
        return [migration.name for migration in todo]
    except ClickHouseError as error:
        raise MigrationError("schema_migrations", describe(error)) from error
    finally:
        client.close()


def views(migrations: list[Migration], layout: Layout) -> list[str]:
    """The statements that make each view as the last migration has it, those that others read first."""
    found: dict[str, str] = {}
    for migration in migrations:
        for statement in migration.statements(layout):
            if view := _VIEW.search(statement):
                found[view[1]] = _VIEW.sub(r"CREATE OR REPLACE VIEW \1", statement)
    return list(found.values())


def _make_views(settings: ClickHouseSettings, layout: Layout) -> None:
    """In the database of the URL, over the Distributed tables: what a view joins may lie on different shards."""
    client = connect(settings)
    try:
        for statement in views(available(), layout):
            client.command(statement)
    finally:
        client.close()


def _apply(client: Client, migration: Migration, layout: Layout) -> None:
    for number, statement in enumerate(migration.statements(layout), 1):
        if layout.cluster and _VIEW.search(statement):
            # On one shard it would answer for that shard alone: see _make_views.
            continue
        try:
            client.command(statement)
        except ClickHouseError as error:
            raise MigrationError(migration.name, f"statement {number}: {describe(error)}") from error
    client.insert(
        "schema_migrations",
        [[migration.number, migration.name, migration.checksum]],
        column_names=["number", "name", "checksum"],
        settings={"async_insert": 0},
    )
    log.info("migration_applied", migration=migration.name)
