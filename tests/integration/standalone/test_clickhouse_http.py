"""The embedded server speaks ClickHouse's HTTP interface to the clients that people use."""

import gzip
import threading
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import clickhouse_connect
import httpx
import lz4.frame
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from .conftest import Sql

pytestmark = pytest.mark.integration

NAMES = ["a", "b", "c", "d", "e", "f"]
TYPES = ["UInt64", "String", "Nullable(Float64)", "DateTime64(6, 'UTC')", "Map(String, Float64)", "UUID"]


def connect(sql: Sql, **options: Any) -> Client:
    port = urlsplit(sql.base).port
    assert port is not None
    return clickhouse_connect.get_client(
        host="127.0.0.1", port=port, username=sql.auth[0], password=sql.auth[1], database="plaudit", **options
    )


@pytest.fixture
def table(sql: Sql) -> Iterator[str]:
    columns = ", ".join(f"{name} {kind}" for name, kind in zip(NAMES, TYPES, strict=True))
    sql.text(f"CREATE TABLE t ({columns}) ENGINE = MergeTree ORDER BY a")
    yield "t"
    sql.text("DROP TABLE t")


def rows(count: int) -> list[list[object]]:
    # The client hands times in UTC back without their zone.
    at = datetime(2026, 11, 22, 1, 2, 3, 456789)  # noqa: DTZ001
    return [[i, f"it's\0\n{i}", None if i % 2 else 0.5, at, {"v": 1.0}, UUID(int=i)] for i in range(count)]


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip"])
def test_clickhouse_connect_writes_and_reads_back_the_same(compress: bool | str, sql: Sql, table: str) -> None:
    client = connect(sql, compress=compress)
    summary = client.insert(
        table, rows(1000), column_names=NAMES, column_type_names=TYPES, settings={"async_insert": 0}
    )
    assert summary.written_rows == 1000
    assert [list(row) for row in client.query("SELECT * FROM t ORDER BY a").result_rows] == rows(1000)


async def test_the_async_client_works_too(sql: Sql, table: str) -> None:
    port = urlsplit(sql.base).port
    assert port is not None
    client = await clickhouse_connect.get_async_client(
        host="127.0.0.1", port=port, username=sql.auth[0], password=sql.auth[1], database="plaudit"
    )
    await client.insert(table, rows(10), column_names=NAMES, column_type_names=TYPES)
    answer = await client.query("SELECT count() FROM t WHERE a < {limit:UInt64}", parameters={"limit": 5})
    assert answer.result_rows == [(5,)]
    await client.close()


def test_parameters_arrive_in_the_url_and_in_a_form(sql: Sql) -> None:
    value = "it's \\ a\ttab\nand ü"
    for form in (False, True):
        client = connect(sql, form_encode_query_params=form)
        assert client.query("SELECT {x:String}, {y:Array(Int8)}", parameters={"x": value, "y": [1, 2]}).result_rows == [
            (value, [1, 2])
        ]


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("lz4", lz4.frame.compress),
    ],
)
def test_a_compressed_body_is_understood(encoding: str, compress: object, sql: Sql) -> None:
    assert callable(compress)
    response = httpx.post(
        sql.base, content=compress(b"SELECT 'x'"), headers={"Content-Encoding": encoding}, auth=sql.auth
    )
    assert response.text == "x\n"


def test_a_bomb_is_refused(sql: Sql) -> None:
    bomb = gzip.compress(b"\0" * (600 << 20), 1)
    response = httpx.post(sql.base, content=bomb, headers={"Content-Encoding": "gzip"}, auth=sql.auth, timeout=30)
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (413, "307")


@pytest.mark.parametrize(
    ("statement", "status", "code"),
    [
        ("SELEC 1", 400, "62"),
        ("SELECT * FROM missing", 404, "60"),
        ("SELECT missing", 404, "47"),
        ("SELECT missing()", 404, "46"),
        ("SELECT 1 FROM missing.t", 404, "81"),
        ("SELECT 1 SETTINGS missing = 1", 400, "115"),
        ('INSERT INTO t FORMAT JSONEachRow {"a": "x"}', 400, "27"),
        ("SELECT sleepEachRow(1) FROM numbers(100) SETTINGS max_execution_time = 0.3, max_block_size = 1", 408, "159"),
        ("SELECT 1; SELECT 2", 400, "62"),
    ],
)
def test_an_error_carries_clickhouses_code(statement: str, status: int, code: str, sql: Sql, table: str) -> None:
    response = sql.post(statement)
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (status, code)
    assert response.text.startswith(f"Code: {code}. DB::Exception: ")


def test_clickhouse_connect_reports_the_error(sql: Sql) -> None:
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
        connect(sql).query("SELECT * FROM missing")


def test_a_setting_in_the_url_holds_for_one_request_only(sql: Sql) -> None:
    query = "SELECT getSetting('max_threads')"
    before = sql.text(query)
    assert sql.text(query, max_threads="7") == "7\n"
    assert sql.text(query) == before
    assert sql.text("SET max_threads = 7") == ""
    assert sql.text(query) == before


def test_a_session_remembers_what_was_set_in_it(sql: Sql) -> None:
    query = "SELECT getSetting('max_threads')"
    sql.text("SET max_threads = 7", session_id="one")
    assert sql.text(query, session_id="one") == "7\n"
    assert sql.text(query, session_id="two") != "7\n"


def test_the_query_parameter_and_the_body_are_one_text(sql: Sql, table: str) -> None:
    sql.text('{"a": 1, "b": "x"}\n', query="INSERT INTO t FORMAT JSONEachRow")
    sql.text("2\ty\n", query="INSERT INTO t (a, b) FORMAT TSV")
    sql.text("(3, 'z')", query="INSERT INTO t (a, b) VALUES")
    sql.text("INSERT INTO t (a, b) SETTINGS async_insert = 0 VALUES (4, 'format'), (2 + 3, 'values')")
    assert sql.text("SELECT groupArray(a) FROM (SELECT a FROM t ORDER BY a)") == "[1,2,3,4,5]\n"


def test_a_table_may_be_called_like_a_keyword(sql: Sql) -> None:
    sql.text("CREATE TABLE `select` (format UInt8, values UInt8) ENGINE = Memory")
    sql.text("INSERT INTO `select` (format, values) VALUES (1, 1)")
    sql.text("INSERT INTO plaudit.select (`format`) FORMAT CSV\n2\n")
    assert sql.text("SELECT sum(format) FROM plaudit.select FORMAT TSV") == "3\n"
    sql.text("DROP TABLE `select`")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_ping_needs_no_password(method: str, sql: Sql) -> None:
    assert httpx.request(method, sql.base + "ping").status_code == 200


def test_an_answer_says_how_it_went(sql: Sql) -> None:
    response = sql.post("SELECT number FROM numbers(5)", query_id="mine", default_format="JSONEachRow")
    assert response.headers["X-ClickHouse-Query-Id"] == "mine"
    assert response.headers["X-ClickHouse-Format"] == "JSONEachRow"
    assert '"result_rows": "5"' in response.headers["X-ClickHouse-Summary"]
    assert response.text.splitlines()[0] == '{"number":0}'


def test_several_clients_write_and_read_at_once(sql: Sql, table: str) -> None:
    failures: list[BaseException] = []

    def write(worker: int) -> None:
        try:
            client = connect(sql)
            for batch in range(5):
                block = [[worker * 1000 + batch, "x", None, datetime.now(UTC), {}, UUID(int=batch)]] * 100
                client.insert(table, block, column_names=NAMES, column_type_names=TYPES)
                client.query("SELECT count() FROM t")
        except Exception as error:  # noqa: BLE001  told below
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sql.text("SELECT count(), uniqExact(a) FROM t") == "4000\t40\n"
