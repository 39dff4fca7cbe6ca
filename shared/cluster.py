"""Where the tables lie: on one node in the database of the URL; in a cluster spread over its shards.

In a cluster the tables themselves, replicated, lie on every node in the database ``<name>_shard``, made by the same
migrations. In the database of the URL each has a Distributed table of its own name, so that no service knows the
difference. Rows are spread so that one identity always meets itself: then FINAL is right shard by shard.

More is not promised. An alias lies with the feedback that was given under it, its trace may lie on another shard, and
so does an event of ``feedback_resolved`` that has found its trace. So views lie in the database of the URL alone, over
the Distributed tables, and whatever they or the services join or look up there is looked up everywhere (GLOBAL).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from string import Template
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import SecretStr

from shared.storage import database_name

if TYPE_CHECKING:
    from shared.settings import ClickHouseSettings

_TRACE = ("project_id", "source", "trace_id")
_ALIAS = ("project_id", "source", "alias")
_SPREAD = {
    # An event may be found to be of another trace, or of another time, than was thought.
    "feedback_resolved": ("project_id", "dedupe_id"),
    "trace_aliases": _ALIAS,
    # Filled by a view where the alias lies.
    "trace_aliases_by_trace": _ALIAS,
}
"""By table, where it is not by trace or by the first column of the sorting key."""

EVERYWHERE: dict[str, str | int] = {"distributed_product_mode": "global", "distributed_foreground_insert": 1}
"""For every query that joins tables or looks up one in another, and for what it writes to be there when it ends. Says
nothing to a single node.
"""

_RECORD = """
CREATE TABLE IF NOT EXISTS schema_migrations ${on_cluster} (
    number     UInt32 COMMENT 'of the file',
    name       String COMMENT 'of the file',
    checksum   String COMMENT 'SHA-256 of the file, in hex',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
) ENGINE = ${record_engine} ORDER BY number
"""

TABLES_QUERY = """
SELECT t.name, any(t.engine), any(splitByString(', ', t.sorting_key)[1]), groupArray(c.name)
FROM system.tables AS t INNER JOIN system.columns AS c ON c.database = t.database AND c.table = t.name
WHERE t.database = currentDatabase() AND t.engine NOT IN ('View', 'MaterializedView') AND t.name NOT LIKE '.%'
GROUP BY t.name ORDER BY t.name
"""
"""For ``Layout.distributed``, asked in the database of the shards."""


class Table(NamedTuple):
    """``key``: the first expression of the sorting key."""

    name: str
    engine: str
    key: str
    columns: Iterable[str]


@dataclass(frozen=True, slots=True)
class Layout:
    """``cluster``: as in the servers' remote_servers; empty for one node."""

    database: str
    cluster: str

    @classmethod
    def of(cls, settings: ClickHouseSettings) -> Layout:
        return cls(database_name(settings), settings.clickhouse_cluster)

    @property
    def home(self) -> str:
        """The database of the tables themselves."""
        return f"{self.database}_shard" if self.cluster else self.database

    @property
    def databases(self) -> list[str]:
        return [self.home, self.database] if self.cluster else [self.database]

    def create_database(self, name: str) -> str:
        return f"CREATE DATABASE IF NOT EXISTS `{name}` {self.on_cluster}".strip()

    def render(self, text: str) -> str:
        """A migration for this layout."""
        replicated = "Replicated" if self.cluster else ""
        return Template(text).substitute(on_cluster=self.on_cluster, replicated=replicated)

    @property
    def record_table(self) -> str:
        """What was applied: one table for all nodes, whatever their shard, so that any of them knows."""
        engine = "ReplacingMergeTree(applied_at)"
        if self.cluster:
            path = f"/clickhouse/plaudit/{self.home}/schema_migrations"
            engine = f"ReplicatedReplacingMergeTree('{path}', '{{shard}}-{{replica}}', applied_at)"
        return Template(_RECORD).substitute(on_cluster=self.on_cluster, record_engine=engine)

    def distributed(self, tables: Iterable[Table]) -> list[str]:
        """The Distributed table over each of ``tables``; made anew, since a migration may have changed its columns.
        Nothing can be waiting in one: inserts into it are pinned to return when the shards have the rows.
        """
        return [self._distributed(table) for table in tables]

    def at_home(self, settings: ClickHouseSettings) -> ClickHouseSettings:
        """The same server, in the database of the tables themselves."""
        if not self.cluster:
            return settings
        url = urlsplit(settings.clickhouse_url.get_secret_value())._replace(path=f"/{quote(self.home)}")
        return settings.model_copy(update={"clickhouse_url": SecretStr(urlunsplit(url))})

    def _distributed(self, table: Table) -> str:
        by = _SPREAD.get(table.name, _TRACE if set(_TRACE) <= set(table.columns) else (table.key,))
        return (
            f"CREATE OR REPLACE TABLE `{self.database}`.`{table.name}` {self.on_cluster} "
            f"AS `{self.home}`.`{table.name}` "
            f"ENGINE = Distributed(`{self.cluster}`, `{self.home}`, `{table.name}`, cityHash64({', '.join(by)}))"
        )

    def own(self, table: str) -> str:
        """The table itself, for what a Distributed one cannot do: to be altered, with ``on_cluster`` behind it."""
        return f"`{self.home}`.`{table}` {self.on_cluster}".strip()

    @property
    def on_cluster(self) -> str:
        return f"ON CLUSTER `{self.cluster}`" if self.cluster else ""
