"""The tables of a cluster: what cannot be executed on one node is at least read by the engine's own parser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from services.standalone.embedded import EmbeddedServer
from shared.cluster import TABLES_QUERY, Layout, Table
from shared.errors import StoreUnavailableError
from shared.migrate import available, views
from shared.settings import ClickHouseSettings
from shared.storage import connect, endpoints

pytestmark = pytest.mark.integration

CLUSTER = Layout("plaudit", "main")
TRACE = "project_id, source, trace_id"


@pytest.fixture
def client(database: ClickHouseSettings) -> Iterator[Any]:
    client = connect(database)
    yield client
    client.close()


def parse(client: Any, statement: str) -> str:
    """As the engine writes it; raises where it does not understand."""
    text = client.query("SELECT formatQuery({statement:String})", {"statement": statement}).result_rows[0][0]
    return str(text)


def test_every_statement_of_the_migrations_is_understood_for_a_cluster(client: Any) -> None:
    seen = 0
    for migration in available():
        for statement in migration.statements(CLUSTER):
            written = parse(client, statement)
            seen += 1
            if "ENGINE" in statement:
                assert "ENGINE = Replicated" in written, statement
            if statement.startswith(("CREATE", "ALTER", "DROP")):
                assert "ON CLUSTER main" in written, statement
    assert seen > 6
    assert "ReplicatedReplacingMergeTree('/clickhouse/plaudit/plaudit_shard/schema_migrations'" in parse(
        client, CLUSTER.record_table
    )


def test_every_table_gets_a_distributed_one_spread_by_what_makes_its_rows_the_same(client: Any) -> None:
    tables = [Table(*row) for row in client.query(TABLES_QUERY).result_rows]
    statements = {
        table.name: parse(client, text) for table, text in zip(tables, CLUSTER.distributed(tables), strict=True)
    }
    for name in ("feedback_events", "feedback_by_trace", "feedback_changes", "trace_attributes"):
        assert f"Distributed(main, plaudit_shard, {name}, cityHash64({TRACE}))" in statements[name]
    # An event that finds its trace later, or another time, must meet its former rows.
    assert "cityHash64(project_id, dedupe_id)" in statements["feedback_resolved"]
    for name in ("trace_aliases", "trace_aliases_by_trace"):
        assert "cityHash64(project_id, source, alias)" in statements[name]
    assert "cityHash64(token_hash)" in statements["api_keys"]
    assert "projects" in statements
    views = {"feedback", "feedback_current", "feedback_of", "traces"}
    assert not [name for name in statements if name.endswith("_mv") or name in views]


def test_each_view_is_made_over_the_distributed_tables_as_the_last_migration_has_it(client: Any) -> None:
    last = {text.split("VIEW ")[1].split()[0]: parse(client, text) for text in views(available(), CLUSTER)}
    assert set(last) == {"feedback", "feedback_current", "feedback_of", "traces"}
    for text in last.values():
        assert "CREATE OR REPLACE VIEW" in text
        assert "ON CLUSTER main" in text
        assert "plaudit_shard" not in text
        # What is joined or looked up may lie on another shard.
        assert text.count("JOIN") == text.count("GLOBAL LEFT") + text.count("GLOBAL ANY LEFT") + text.count(
            "GLOBAL SEMI LEFT"
        ) + text.count("GLOBAL INNER")


def test_what_a_distributed_table_cannot_do_is_done_to_the_tables_of_all_shards() -> None:
    assert CLUSTER.own("feedback_events") == "`plaudit_shard`.`feedback_events` ON CLUSTER `main`"
    assert Layout("plaudit", "").own("feedback_events") == "`plaudit`.`feedback_events`"


def test_rows_of_one_identity_have_one_shard(client: Any) -> None:
    """All that an identity is made of lies in the trace: the hash of the trace is a function of it."""
    from shared.storage import COLUMN_TYPES

    assert set(TRACE.split(", ")) <= set(COLUMN_TYPES)
    spread = client.query(
        "SELECT uniq(project_id, source, trace_id), uniq(cityHash64(project_id, source, trace_id) % 4), "
        "max(length(shards)) FROM (SELECT project_id, source, trace_id, "
        "groupUniqArray(cityHash64(project_id, source, trace_id) % 4) AS shards FROM "
        "(SELECT 'p' AS project_id, 'lunary' AS source, toString(number % 100) AS trace_id FROM numbers(1000)) "
        f"GROUP BY {TRACE})"
    ).result_rows[0]
    assert spread == (100, 4, 1)


def test_one_node_is_told_nothing_of_clusters() -> None:
    layout = Layout("plaudit", "")
    assert layout.databases == ["plaudit"]
    text = " ".join(statement for migration in available() for statement in migration.statements(layout))
    assert "ON CLUSTER" not in text
    assert "Replicated" not in text


def test_the_shards_have_a_database_of_their_own() -> None:
    settings = ClickHouseSettings(
        clickhouse_url=SecretStr("https://u:p%40w@a:1,b:2/plaudit"), clickhouse_cluster="main"
    )
    layout = Layout.of(settings)
    assert layout.databases == ["plaudit_shard", "plaudit"]
    assert layout.at_home(settings).clickhouse_url.get_secret_value() == "https://u:p%40w@a:1,b:2/plaudit_shard"


def test_a_url_may_name_several_hosts() -> None:
    settings = ClickHouseSettings(clickhouse_url=SecretStr("https://me:p%40ss@one,two:9000,[::1]:7/plaudit"))
    assert [(place.host, place.port) for place in endpoints(settings)] == [("one", 8443), ("two", 9000), ("::1", 7)]
    assert {(place.username, place.password, place.secure) for place in endpoints(settings)} == {("me", "p@ss", True)}


def test_the_next_host_is_taken_where_one_does_not_answer(
    clickhouse: EmbeddedServer, database: ClickHouseSettings
) -> None:
    url = database.clickhouse_url.get_secret_value()
    several = url.replace("@", "@127.0.0.1:1,", 1)
    client = connect(ClickHouseSettings(clickhouse_url=SecretStr(several), clickhouse_connect_timeout=1))
    assert client.query("SELECT currentDatabase()").result_rows == [(Path(url).name,)]
    client.close()


def test_an_error_is_told_when_no_host_answers() -> None:
    settings = ClickHouseSettings(
        clickhouse_url=SecretStr("http://127.0.0.1:1,127.0.0.1:2/x"), clickhouse_connect_timeout=1
    )
    with pytest.raises(StoreUnavailableError):
        connect(settings)
