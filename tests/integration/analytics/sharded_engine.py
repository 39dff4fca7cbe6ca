"""Plays a cluster of two shards in one engine, and prints what both the cluster and a single node say: for
``test_aliases_across_shards``. Databases: ``one`` (a single node), ``shards`` (what each shard has of it), ``cluster``.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import chdb

from services.analytics import resolving, story
from shared.cluster import EVERYWHERE, TABLES_QUERY, Layout, Table
from shared.migrate import available, views

CONFIG = """<clickhouse><tcp_port>9000</tcp_port><remote_servers><main>
<shard><replica><host>127.0.0.1</host><port>9000</port></replica></shard>
<shard><replica><host>127.0.0.1</host><port>9000</port></replica></shard>
</main></remote_servers></clickhouse>"""

NODE = Layout("one", "")
CLUSTER = replace(Layout("cluster", "main"), cluster="main")
TRACES = 40

FEEDBACK = """
INSERT INTO feedback_events (project_id, source, trace_id, dedupe_id, key_time, event_type, timestamp, received_at, version, vote, comment)
SELECT 'shop', 'lunary', if(number % 2, 'alias-', 'trace-') || toString(intDiv(number, 2)), number,
       toDateTime64('2026-11-01', 6, 'UTC') + number AS key_time, 'feedback', key_time, key_time + 1, number,
       if(number % 3 = 0, 1, -1), if(number % 5 = 0, 'because ' || toString(number), NULL)
FROM numbers({rows})
"""
ALIASES = """
INSERT INTO trace_aliases SELECT 'shop', 'lunary', 'alias-' || toString(number), 'trace-' || toString(number), now64(6)
FROM numbers({rows})
"""
ATTRIBUTES = """
INSERT INTO trace_attributes (project_id, source, trace_id, name, model, learnt_at)
SELECT 'shop', 'lunary', if(number % 2, 'alias-', 'trace-') || toString(intDiv(number, 2)),
       if(number % 2, '', 'run ' || toString(number)), if(number % 2, 'model ' || toString(number), ''), toDateTime64('2026-11-01', 6, 'UTC')
FROM numbers({rows})
"""


class Engine:
    def __init__(self, folder: Path) -> None:
        os.chdir(folder)
        Path("config.xml").write_text(CONFIG)
        self._root = chdb.connect("engine?config-file=config.xml")

    def run(self, database: str, sql: str, **parameters: Any) -> list[list[Any]]:
        """Rows. Settings as the services have them."""
        for name, value in parameters.items():
            sql = replaced(sql, name, value)
        pinned = "".join(f"SET {name} = '{value}'; " for name, value in EVERYWHERE.items())
        found = self._root.query(
            f"USE {database}; {pinned} {sql}", "JSONCompactEachRowWithNames" if _asks(sql) else "CSV"
        )
        if not _asks(sql):
            return []
        return [json.loads(line) for line in found.bytes().decode().splitlines()][1:]


def _asks(sql: str) -> bool:
    return sql.lstrip().startswith(("SELECT", "WITH"))


def replaced(sql: str, name: str, value: Any) -> str:
    """With a value in place of a query parameter."""
    for kind in ("String", "Array(String)", "UInt32"):
        sql = sql.replace(f"{{{name}:{kind}}}", repr(value))
    return sql


def make(engine: Engine) -> None:
    for name in ("one", "shards", "cluster"):
        engine.run("default", f"CREATE DATABASE {name}")
    for migration in available():
        for statement in migration.statements(NODE):
            engine.run("one", statement)
    tables = [Table(row[0], row[1], row[2], row[3]) for row in engine.run("one", TABLES_QUERY)]
    for table, statement in zip(tables, CLUSTER.distributed(tables), strict=True):
        by = statement.rpartition("cityHash64(")[2].rstrip(")")
        # The part of the rows that the sharding key gives to the shard that is asked.
        engine.run(
            "shards",
            f"CREATE VIEW {table.name} AS SELECT * FROM one.{table.name} WHERE cityHash64({by}) % 2 = shardNum() - 1",
        )
        engine.run("cluster", of_this_engine(statement))
    for statement in views(available(), CLUSTER):
        engine.run("cluster", of_this_engine(statement))


def of_this_engine(statement: str) -> str:
    home = statement.replace("AS `cluster_shard`", "AS `one`").replace("`cluster_shard`", "`shards`")
    return home.replace(CLUSTER.on_cluster, "")


def fill(engine: Engine) -> None:
    engine.run("one", FEEDBACK.format(rows=2 * TRACES))
    engine.run("one", ALIASES.format(rows=TRACES))
    engine.run("one", ATTRIBUTES.format(rows=2 * TRACES))


def told(engine: Engine) -> dict[str, Any]:
    def both(sql: str, **parameters: Any) -> dict[str, Any]:
        return {
            name: sorted(engine.run(database, sql, **parameters), key=repr)
            for name, database in (("one node", "one"), ("cluster", "cluster"))
        }

    trace = {"project": "shop", "sources": ["lunary"], "ids": ["trace-7"]}
    members = {"member_sources": ["lunary", "lunary"], "member_ids": ["trace-7", "alias-7"]}
    changed = "SELECT 'shop' AS project_id, 'lunary' AS source, 'alias-7' AS trace_id"
    refresh = resolving.rewrite(changed, aliases=True).partition("WITH changed")
    identities = ("WITH changed" + refresh[2]).partition("SELECT i.project_id")[0]
    local = views(available(), CLUSTER)
    current = next(text for text in local if "VIEW feedback_current" in text)
    engine.run("shards", of_this_engine(current).replace("GLOBAL ", ""))
    engine.run(
        "cluster",
        "CREATE TABLE by_shard AS one.feedback_current ENGINE = Distributed(main, shards, feedback_current)",
    )
    return {
        "apart": engine.run(
            "one",
            "SELECT countIf(cityHash64(project_id, source, alias) % 2 != cityHash64(project_id, source, trace_id) % 2) FROM trace_aliases",
        )[0][0],
        "rows": engine.run("one", "SELECT count() FROM feedback_by_trace")[0][0],
        "rows_of_first_shard": engine.run("cluster", "SELECT countIf(_shard_num = 1) FROM feedback_by_trace")[0][0],
        "feedback_current": both("SELECT * FROM feedback_current"),
        "traces": both("SELECT trace_id, name, model FROM traces"),
        "feedback_of": both("SELECT * FROM feedback_of(project = 'shop', trace = 'alias-7')"),
        "shard by shard": sorted(engine.run("cluster", "SELECT * FROM by_shard"), key=repr),
        "ids": both(story.OTHER_IDS, **trace),
        "places": both(f"SELECT id, at FROM ({story._PLACES})", **trace, **members, most=1000),
        "refresh": both(f"{identities} SELECT trace_id, dedupe_id, trace_vote FROM identities"),
    }


def main() -> None:
    engine = Engine(Path(sys.argv[1]))
    make(engine)
    fill(engine)
    sys.stdout.write(json.dumps(told(engine)))


if __name__ == "__main__":
    main()
