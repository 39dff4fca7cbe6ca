"""Nothing that a statement or a web page can say reaches outside the embedded server's tables."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from services.standalone.embedded import EmbeddedServer

from .conftest import Sql

pytestmark = pytest.mark.integration

SECRET = "the-secret-of-this-machine"

# Codes of a file or connection that could not be opened, read, or found: the statement got as far as the kernel.
STOPPED_TOO_LATE = {"74", "75", "76", "107", "198", "209", "210", "279", "1000", "1001", "1002"}

ATTACKS = [
    # the scalar function, in every disguise
    "SELECT file('{path}')",
    "SELECT `file`('{path}')",
    "SELECT \"file\"('{path}')",
    "SELECT file /* x */ ('{path}')",
    "SELECT file -- x\n('{path}')",
    r"SELECT `fi\x6ce`('{path}')",
    "SELECT arrayMap(file, ['{path}'])",
    "SELECT arrayMap(x -> file(x), ['{path}'])",
    "SELECT * APPLY(file) FROM (SELECT '{path}' AS x)",
    "SELECT * APPLY file FROM (SELECT '{path}' AS x)",
    "SELECT COLUMNS('x') APPLY(x -> file(x)) FROM (SELECT '{path}' AS x)",
    "WITH file('{path}') AS x SELECT x",
    "SELECT '{path}' AS p, `file`(p)",
    "SELECT $$file($$, file('{path}')",
    "SELECT 'a''b', file('{path}'), 'c'",
    r"SELECT 'a\'', file('{path}'), '\''",
    "/* '*/ SELECT file('{path}') /* ' */",
    "-- '\nSELECT file('{path}') -- '",
    "# '\nSELECT file('{path}') # '",
    "SELECT ‘x’, file('{path}')",  # noqa: RUF001  these quote as well
    "SELECT * FROM view(SELECT file('{path}'))",
    "SELECT * FROM viewExplain('EXPLAIN AST', '', (SELECT file('{path}')))",
    "EXPLAIN SELECT file('{path}')",
    "CREATE VIEW plaudit.stolen AS SELECT file('{path}') AS s",
    "CREATE TABLE plaudit.stolen (s String DEFAULT file('{path}')) ENGINE = Memory",
    "ALTER TABLE plaudit.innocent ADD COLUMN s2 String DEFAULT file('{path}')",
    "ALTER TABLE plaudit.innocent UPDATE s = file('{path}') WHERE 1",
    "CREATE FUNCTION stolen AS x -> file(x)",
    "CREATE FUNCTION harmless AS x -> x",
    "INSERT INTO plaudit.innocent SELECT file('{path}')",
    "INSERT INTO plaudit.innocent VALUES (file('{path}'))",
    "INSERT INTO plaudit.innocent VALUES ('a'), (`file`('{path}'))",
    r"INSERT INTO plaudit.innocent VALUES (`\x66ile`('{path}'))",
    "INSERT INTO plaudit.innocent FORMAT Values (file('{path}'))",
    "INSERT INTO plaudit.innocent FORMAT values ('a'),(file('{path}'))",
    "SELECT * FROM format(Values, 's String', $$(file('{path}'))$$)",
    "SELECT * FROM format('Values', 's String', $$(file('{path}'))$$)",
    "SELECT * FROM format('Val' || 'ues', 's String', $$(file('{path}'))$$)",
    "SELECT * FROM format('V\\x61lues', 's String', $$(file('{path}'))$$)",
    "WITH 'Values' AS CSV SELECT * FROM format(CSV, 's String', $$(file('{path}'))$$)",
    "SELECT * FROM `format`(`Values`, 's String', $$(file('{path}'))$$)",
    "SELECT 1; SELECT file('{path}')",
    "SELECT 1 SETTINGS max_threads = 1; DROP TABLE plaudit.innocent",
    "SELECT 1\\G SELECT file('{path}')",
    # expressions in strings
    "SELECT * FROM plaudit.innocent SETTINGS additional_table_filters = {'innocent': 'file(\\'{path}\\') = \\'\\''}",
    "SELECT 1 SETTINGS additional_result_filter = 'file(\\'{path}\\') = \\'\\''",
    "SELECT * FROM format(JSONEachRow, 's String, d String DEFAULT fi' || 'le(\\'{path}\\')', '{\"s\":\"1\"}')",
    "SELECT d FROM values('s String, d String ALIAS fi' || 'le(\\'{path}\\')', '1')",
    "SELECT d FROM `Values`('s String, d String ALIAS fi' || 'le(\\'{path}\\')', '1')",
    "SELECT d FROM generateRandom('s String, d String ALIAS fi' || 'le(\\'{path}\\')') LIMIT 1",
    "SELECT d FROM null('s String, d String ALIAS fi' || 'le(\\'{path}\\')')",
    "INSERT INTO FUNCTION null('s String, d String DEFAULT fi' || 'le(\\'{path}\\')') SELECT 'x'",
    "INSERT INTO plaudit.innocent SELECT d FROM values('s String, d String ALIAS fi' || 'le(\\'{path}\\')', '1')",
    "INSERT INTO plaudit.innocent VALUES ((SELECT d FROM values('d String ALIAS fi' || 'le(\\'{path}\\')')))",
    "INSERT INTO plaudit.innocent FORMAT MySQLDump INSERT INTO x VALUES (file('{path}'))",
    # files as tables
    "SELECT * FROM file('{path}', 'LineAsString', 's String')",
    "SELECT * FROM FILE('{path}', 'LineAsString', 's String')",
    "SELECT * FROM '{path}'",
    "SELECT * FROM `{path}`",
    "SELECT * FROM default.`{path}`",
    "SELECT * FROM fileCluster('default', '{path}', 'LineAsString', 's String')",
    "SELECT * FROM filesystem('{folder}')",
    "SELECT * FROM loop(file('{path}', 'LineAsString', 's String'))",
    "SELECT * FROM sqlite('{path}', 't')",
    "SELECT * FROM deltaLakeLocal('{folder}')",
    "SELECT * FROM icebergLocal('{folder}')",
    "DESCRIBE TABLE file('{path}')",
    "DESCRIBE file('{path}', 'CSV')",
    "INSERT INTO plaudit.innocent FROM INFILE '{path}' FORMAT LineAsString",
    "INSERT INTO plaudit.innocent from/**/infile '{path}' FORMAT LineAsString",
    "INSERT INTO FUNCTION file('{target}', 'CSV', 's String') SELECT 'x'",
    "INSERT INTO FUNCTION file('{target}', 'CSV', 's String') VALUES ('x')",
    "SELECT 1 INTO OUTFILE '{target}'",
    "SELECT 1 INTO/**/OUTFILE '{target}' TRUNCATE FORMAT CSV",
    "EXPLAIN SELECT 1 into outfile '{target}'",
    "CREATE TABLE plaudit.stolen (s String) ENGINE = File(LineAsString, '{path}')",
    "CREATE TABLE plaudit.stolen (s String) ENGINE = `File`(LineAsString, '{path}')",
    "CREATE TABLE plaudit.stolen (s String) ENGINE = FileLog('{folder}', 'LineAsString')",
    "CREATE TABLE plaudit.stolen AS file('{path}', 'LineAsString', 's String')",
    "CREATE TABLE plaudit.stolen (s String) ENGINE = SQLite('{path}', 't')",
    "CREATE DATABASE stolen ENGINE = Filesystem('{folder}')",
    "CREATE DATABASE stolen ENGINE = SQLite('{path}')",
    "CREATE DATABASE stolen ENGINE = Overlay('default')",
    "ATTACH TABLE plaudit.stolen FROM '{folder}' (s String) ENGINE = MergeTree ORDER BY s",
    "ATTACH TABLE plaudit.stolen UUID '11111111-1111-1111-1111-111111111111' (s String) ENGINE = File(CSV, '{path}')",
    (
        "CREATE TABLE plaudit.stolen (s String) ENGINE = MergeTree ORDER BY s "
        "SETTINGS disk = disk(type = local, path = '{folder}/')"
    ),
    (
        "CREATE TABLE plaudit.stolen (s String) ENGINE = MergeTree ORDER BY s "
        "SETTINGS disk = disk(type = s3, endpoint = '{web}/b/')"
    ),
    "ALTER TABLE plaudit.innocent_tree MODIFY SETTING disk = disk(type = local, path = '{folder}/')",
    "BACKUP TABLE plaudit.innocent TO File('{target}')",
    "BACKUP TABLE plaudit.innocent TO Disk('default', 'x')",
    "RESTORE TABLE plaudit.innocent FROM File('{target}')",
    # settings that read files, call out or swap the parser
    "SELECT 1 FORMAT Template SETTINGS format_template_row = '{path}'",
    "SELECT 1 FORMAT Template SETTINGS format_template_resultset = '{path}'",
    "SELECT 1 FORMAT Protobuf SETTINGS format_schema = '{path}:x'",
    "SET dialect = 'kusto'",
    "SELECT 1 SETTINGS dialect = 'prql'",
    "SELECT 1 SETTINGS format_avro_schema_registry_url = '{web}'",
    "SET allow_python_table_function = 1",
    "SET allow_experimental_eval_table_function = 1",
    "SELECT * FROM eval('SELECT 1')",
    # the network
    "SELECT * FROM url('{web}', 'LineAsString', 's String')",
    "SELECT * FROM URL('{web}', 'LineAsString', 's String')",
    "SELECT * FROM `url`('{web}', 'LineAsString', 's String')",
    "SELECT * FROM urlCluster('default', '{web}', 'LineAsString', 's String')",
    "INSERT INTO FUNCTION url('{web}', 'LineAsString', 's String') SELECT 'x'",
    "CREATE TABLE plaudit.stolen (s String) ENGINE = URL('{web}', 'LineAsString')",
    "SELECT * FROM s3('{web}/bucket/x', 'LineAsString', 's String')",
    "CREATE TABLE plaudit.stolen (s String) ENGINE = S3('{web}/bucket/x', 'LineAsString')",
    "SELECT * FROM remote('127.0.0.1:9', system.one)",
    "SELECT * FROM remoteSecure('127.0.0.1:9', system.one)",
    "SELECT * FROM mysql('127.0.0.1:9', 'd', 't', 'u', 'p')",
    "CREATE DATABASE stolen ENGINE = MySQL('127.0.0.1:9', 'd', 'u', 'p')",
    "SELECT * FROM postgresql('127.0.0.1:9', 'd', 't', 'u', 'p')",
    "SELECT * FROM mongodb('127.0.0.1:9', 'd', 'c', 'u', 'p', 's String')",
    "SELECT * FROM redis('127.0.0.1:9', 'k', 'k String')",
    "SELECT * FROM hdfs('hdfs://127.0.0.1:9/x', 'LineAsString', 's String')",
    (
        "SELECT * FROM azureBlobStorage('DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;"
        "BlobEndpoint={web}/;', 'c', 'x')"
    ),
    "SELECT * FROM odbc('DSN=x', 't')",
    "SELECT * FROM jdbc('x', 'y')",
    "SELECT * FROM hudi('{web}/bucket/x')",
    "SELECT * FROM cluster('default', system.one)",
    "CREATE TABLE plaudit.stolen (s String) ENGINE = Kafka('127.0.0.1:9', 't', 'g', 'CSV')",
    # programs and code
    "SELECT * FROM executable('x.sh', 'CSV', 's String')",
    "SELECT * FROM `executable`('x.sh', 'CSV', 's String')",
    "CREATE TABLE plaudit.stolen (s String) ENGINE = Executable('x.sh', 'CSV')",
    "SELECT * FROM python('os')",
    "SELECT * FROM Python(os)",
    (
        "CREATE DICTIONARY plaudit.stolen (s String) PRIMARY KEY s SOURCE(FILE(path '{path}' format 'CSV')) "
        "LAYOUT(FLAT()) LIFETIME(1)"
    ),
    (
        "CREATE DICTIONARY plaudit.stolen (s String) PRIMARY KEY s SOURCE(HTTP(url '{web}' format 'CSV')) "
        "LAYOUT(FLAT()) LIFETIME(1)"
    ),
    (
        "CREATE DICTIONARY plaudit.stolen (s String) PRIMARY KEY s SOURCE(EXECUTABLE(command 'id' format 'CSV')) "
        "LAYOUT(FLAT()) LIFETIME(1)"
    ),
    # the server itself
    "SYSTEM SHUTDOWN",
    "SYSTEM KILL",
    "SYSTEM RELOAD CONFIG",
    "CREATE USER stranger IDENTIFIED BY 'x'",
    "GRANT FILE ON *.* TO default",
    "SET ROLE ALL; SELECT 1",
    "CREATE NAMED COLLECTION c AS a = '1'",
    "SELECT addressToLine(1)",
]

INNOCENT = [
    ("SELECT 'file(1)'", "file(1)\n"),
    ("SELECT $$into outfile 'x'$$", "into outfile \\'x\\'\n"),
    ("SELECT 1 -- file('x')", "1\n"),
    ("SELECT /* url('x') */ 2", "2\n"),
    ("SELECT 1 AS url, 2 AS remote", "1\t2\n"),
    ("SELECT details['file'] FROM (SELECT map('file', 'a') AS details)", "a\n"),
    ("SELECT format('{}-{}', 'a', 'b')", "a-b\n"),
    ("SELECT number FROM numbers(2) FORMAT CSV", "0\n1\n"),
    ("SELECT 1 IN (1, NULL), NULL IS NULL", "1\t1\n"),
    ("SELECT arrayMap(x -> x + 1, [1])", "[2]\n"),
    ("SELECT 1;", "1\n"),
    ("SELECT 1 ; -- done", "1\n"),
    ("SHOW TABLES FROM plaudit LIKE 'innocent_tree'", "innocent_tree\n"),
    ("EXISTS TABLE plaudit.innocent", "1\n"),
    ("DESCRIBE TABLE plaudit.innocent FORMAT CSV", '"s","String","","","","",""\n'),
    ("SELECT count() FROM system.tables WHERE name = 'innocent'", "1\n"),
]


@pytest.fixture(scope="module", autouse=True)
def tables(clickhouse: tuple[Sql, EmbeddedServer]) -> Iterator[None]:
    sql, _ = clickhouse
    sql.text("CREATE TABLE innocent (s String) ENGINE = Memory")
    sql.text("CREATE TABLE innocent_tree (s String) ENGINE = MergeTree ORDER BY s")
    yield
    sql.text("DROP TABLE innocent")
    sql.text("DROP TABLE innocent_tree")


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_statement_that_reaches_outside_fails_and_leaves_nothing(attack: str, sql: Sql, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    target = tmp_path / "written"
    statement = attack
    for name, value in {"path": secret, "folder": tmp_path, "target": target, "web": "http://127.0.0.1:9"}.items():
        statement = statement.replace("{" + name + "}", str(value))
    response = sql.post(statement)
    assert response.status_code != 200, response.text
    assert response.headers["X-ClickHouse-Exception-Code"] not in STOPPED_TOO_LATE
    assert SECRET not in response.text
    assert [path.name for path in tmp_path.iterdir()] == ["secret.txt"]
    assert sql.text(f"SELECT count() FROM innocent WHERE s LIKE '%{SECRET}%'") == "0\n"
    assert sql.text("SELECT count() FROM system.tables WHERE name = 'stolen'") == "0\n"


def test_no_attack_was_refused_by_an_unreachable_network(sql: Sql) -> None:
    for function in ("url('http://127.0.0.1:9', 'CSV', 's String')", "remote('127.0.0.1:9', system.one)"):
        assert sql.post(f"SELECT * FROM {function}").headers["X-ClickHouse-Exception-Code"] == "497"


@pytest.mark.parametrize(("statement", "answer"), INNOCENT)
def test_an_innocent_statement_passes(statement: str, answer: str, sql: Sql) -> None:
    assert sql.text(statement) == answer


@pytest.mark.parametrize(
    "insert",
    [
        "INSERT INTO innocent VALUES ('{}')",
        "INSERT INTO innocent (s) VALUES ('{}');",
        "INSERT INTO innocent FORMAT Values ('{}')",
        'INSERT INTO innocent FORMAT JSONEachRow {{"s": "{}"}}',
        "INSERT INTO innocent FORMAT LineAsString\n{}",
        "INSERT INTO innocent SELECT '{}'",
        "-- one row\nINSERT INTO innocent /* of */ FORMAT TSV\n{}",
    ],
)
@pytest.mark.parametrize("comment", ["see file(1)", "please INTO OUTFILE my answer; url(x)", "`file`", "disk(full)"])
def test_a_comment_may_say_anything(insert: str, comment: str, sql: Sql) -> None:
    sql.text(insert.format(comment))
    assert sql.text(f"SELECT count() FROM innocent WHERE s = '{comment}'") == "1\n"
    sql.text("TRUNCATE TABLE innocent")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:8123"},
        {"Host": "127.0.0.1"},
        {"Host": "localhost:1"},
    ],
)
def test_a_web_page_or_a_foreign_host_is_refused(headers: dict[str, str], sql: Sql) -> None:
    for path in ("", "ping"):
        response = httpx.post(sql.base + path, content="SELECT 1", headers=headers, auth=sql.auth)
        assert response.status_code == 403
        assert response.headers["X-ClickHouse-Exception-Code"] == "497"


def test_the_name_localhost_is_let_in(sql: Sql) -> None:
    port = sql.base.rsplit(":", 1)[1].strip("/")
    headers = {"Host": f"localhost:{port}"}
    assert httpx.post(sql.base, content="SELECT 1", headers=headers, auth=sql.auth).text == "1\n"


@pytest.mark.parametrize("auth", [("plaudit", "wrong"), ("default", ""), ("", "")])
def test_a_wrong_password_is_refused(auth: tuple[str, str], sql: Sql) -> None:
    response = httpx.post(sql.base, content="SELECT 1", auth=auth)
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (401, "516")


def test_get_changes_nothing(sql: Sql) -> None:
    query = {"query": "CREATE TABLE plaudit.stolen (s String) ENGINE = Memory"}
    response = httpx.get(sql.base, params=query, auth=sql.auth)
    assert response.headers["X-ClickHouse-Exception-Code"] == "164"
    assert httpx.get(sql.base, params={"query": "SELECT 5"}, auth=sql.auth).text == "5\n"


def test_the_password_is_not_in_the_command_line(clickhouse: tuple[Sql, EmbeddedServer]) -> None:
    sql, server = clickhouse
    assert sql.auth[1] not in Path(f"/proc/{server.pid}/cmdline").read_text()


PRISONER = """
import pathlib, socket, sys, threading
from services.standalone.clickhouse.sandbox import confine

data, secret, port = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
if not confine(data):
    sys.exit(77)

def attempt(what):
    try:
        what()
    except PermissionError:
        print("refused", flush=True)
    else:
        print("done", flush=True)

def attempts():
    attempt(lambda: secret.read_text())
    attempt(lambda: list(secret.parent.iterdir()))
    attempt(lambda: secret.with_name("written").write_text("x"))
    attempt(lambda: socket.create_connection(("127.0.0.1", port), 2))
    attempt(lambda: (data / "a").write_text("x"))
    attempt(lambda: ((data / "b").mkdir(), (data / "a").rename(data / "b" / "a")))

thread = threading.Thread(target=attempts)
thread.start()
thread.join()
"""


def test_the_kernel_itself_keeps_the_process_in_its_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "secret").write_text(SECRET)
    with socket.create_server(("127.0.0.1", 0)) as server:
        arguments = [str(data), str(tmp_path / "secret"), str(server.getsockname()[1])]
        root = Path(__file__).resolve().parents[3]
        result = subprocess.run(
            [sys.executable, "-c", PRISONER, *arguments], capture_output=True, text=True, cwd=root, check=False
        )
    if result.returncode == 77:
        pytest.skip("this kernel has no Landlock")
    assert result.stdout.split() == ["refused", "refused", "refused", "refused", "done", "done"], result.stderr
