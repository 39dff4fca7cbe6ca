"""What the embedded servers acknowledged is there after a kill -9; two never share a folder."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from services.standalone.embedded import embedded_clickhouse, embedded_valkey

from .conftest import Sql

pytestmark = pytest.mark.integration


def test_clickhouse_keeps_every_acknowledged_row_through_kill_9(tmp_path: Path) -> None:
    with embedded_clickhouse(tmp_path) as (url, server):
        sql = Sql(url)
        sql.text("CREATE TABLE kept (n UInt64) ENGINE = MergeTree ORDER BY n")
        for batch in range(3):
            sql.text(f"INSERT INTO kept SELECT number + {batch * 10000} FROM numbers(10000)")
            server.kill()
            assert not server.running
            server.restart()
            assert (
                sql.text("SELECT count(), uniqExact(n) FROM kept") == f"{(batch + 1) * 10000}\t{(batch + 1) * 10000}\n"
            )


def test_valkey_keeps_entries_and_the_pending_list_through_kill_9(tmp_path: Path) -> None:
    with embedded_valkey(tmp_path, appendfsync="always") as (url, server):
        client = redis.Redis.from_url(url)
        client.xgroup_create("log", "workers", id="0", mkstream=True)
        for number in range(100):
            client.xadd("log", {"n": number})
        client.xreadgroup("workers", "one", {"log": ">"}, count=40)
        server.kill()
        server.restart()
        assert client.xlen("log") == 100
        assert client.xpending("log", "workers")["pending"] == 40


def fill(client: redis.Redis) -> None:
    for number in range(100):
        client.set(f"large-{number}", b"x" * (1 << 20))


def test_valkey_refuses_what_does_not_fit_and_evicts_nothing(tmp_path: Path) -> None:
    with embedded_valkey(tmp_path, max_memory=16 << 20) as (url, _):
        client = redis.Redis.from_url(url)
        client.set("first", "x")
        with pytest.raises(redis.OutOfMemoryError):
            fill(client)
        assert client.get("first") == b"x"


def test_valkey_is_private(tmp_path: Path) -> None:
    with embedded_valkey(tmp_path) as (url, server):
        parts = urlsplit(url)
        config = tmp_path / "valkey" / "valkey.conf"
        assert stat.S_IMODE(config.stat().st_mode) == 0o600
        assert str(parts.password) not in Path(f"/proc/{server.pid}/cmdline").read_text()
        anonymous = redis.Redis(port=parts.port or 0)
        with pytest.raises(redis.AuthenticationError):
            anonymous.ping()


def test_a_paused_server_answers_again_when_it_is_resumed(tmp_path: Path) -> None:
    with embedded_valkey(tmp_path) as (url, server):
        client = redis.Redis.from_url(url, socket_timeout=0.2, retry=None)
        server.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        server.resume()
        assert redis.Redis.from_url(url).ping()


def test_a_second_clickhouse_on_the_folder_names_the_first(tmp_path: Path) -> None:
    with embedded_clickhouse(tmp_path) as (_, server):
        command = [sys.executable, "-m", "services.standalone.clickhouse", "--path", str(tmp_path / "clickhouse")]
        second = subprocess.run(
            [*command, "--port", "0"], capture_output=True, text=True, timeout=30, env={**os.environ}, check=False
        )
        assert second.returncode == 1
        assert "data_folder_locked" in second.stderr
        assert str(server.pid) in second.stderr


def test_clickhouse_stops_in_order_on_sigterm(tmp_path: Path) -> None:
    with embedded_clickhouse(tmp_path) as (_, server):
        server.stop()
        assert "embedded_clickhouse_stopped" in server.log.read_text()
