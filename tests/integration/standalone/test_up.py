"""``plaudit up``: one command, from nothing to a row, and back after a kill -9."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import redis

from services.standalone.embedded import embedded_clickhouse, embedded_valkey

from .conftest import Sql

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Up:
    """One `plaudit up` process at a time on one folder."""

    folder: Path
    process: "subprocess.Popen[str] | None" = None
    seen: set[int] = field(default_factory=set)

    @property
    def ready_file(self) -> Path:
        return self.folder / "ready.json"

    @property
    def output(self) -> str:
        return (self.folder / "up.log").read_text()

    def command(self, **options: object) -> list[str]:
        values = {"data": self.folder / "data", "port": 0, "analytics-port": 0, "clickhouse-port": 0} | options
        flags = [text for name, value in values.items() for text in (f"--{name.replace('_', '-')}", str(value))]
        return [sys.executable, "-m", "services.cli", "up", *flags]

    def start(self, servers: Mapping[str, str] | None = None, **options: object) -> dict[str, Any]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("PLAUDIT_")}
        env |= servers or {}
        # A killed one could not take its ready file away.
        self.ready_file.unlink(missing_ok=True)
        with (self.folder / "up.log").open("a") as log:
            self.process = subprocess.Popen(
                self.command(ready_file=self.ready_file, **options),
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=env,
                text=True,
            )
        until(self.ready_file.exists, 60, lambda: self.output)
        ready: dict[str, Any] = json.loads(self.ready_file.read_text())
        self.seen |= set(ready["pids"].values())
        return ready

    def try_start(self, **options: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(**options), capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
        )

    def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)


def until(condition: Callable[[], bool], seconds: float, explain: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.05)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    stack = Up(tmp_path)
    yield stack
    if stack.process is not None and stack.process.poll() is None:
        stack.process.kill()
        stack.process.wait()


def thumbs(ready: dict[str, Any], trace: str) -> int:
    body = {"trace_id": trace, "event_type": "thumbs_up_down", "metrics": {"vote": 1}, "timestamp": 1617981376000}
    return httpx.post(
        ready["ingest_url"] + "/api/track_event", json=body, headers={"X-Auth-Token": ready["keys"]["langwatch"]}
    ).status_code


def traces(ready: dict[str, Any]) -> list[str]:
    return Sql(ready["clickhouse_url"]).text("SELECT DISTINCT trace_id FROM feedback_events ORDER BY 1").split()


def test_from_one_command_to_a_row_and_back_after_kill_9(up: Up) -> None:
    ready = up.start(workers=2)
    assert set(ready["pids"]) == {"valkey", "clickhouse", "ingest", "worker-1", "worker-2", "analytics"}
    assert stat.S_IMODE(up.ready_file.stat().st_mode) == 0o600
    assert stat.S_IMODE((up.folder / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((up.folder / "data" / "credentials.json").stat().st_mode) == 0o600
    assert thumbs(ready, "before") == 200
    until(lambda: traces(ready) == ["before"], 15)

    # The lines of the banner are copied by people: run them as they are printed.
    lines = re.findall(r"^curl .*$", up.output, re.MULTILINE)
    assert len(lines) == 3
    for line in lines[:2]:
        answer = subprocess.run(["sh", "-c", f"{line} -sf"], capture_output=True, check=False)
        assert answer.returncode == 0, answer.stderr
    until(lambda: len(traces(ready)) == 3, 15)
    table = subprocess.run(["sh", "-c", f"{lines[2]} -sf"], capture_output=True, text=True, check=True)
    assert "trace_example" in table.stdout
    for url in ready["metrics_urls"].values():
        assert httpx.get(url).status_code == 200

    second = up.try_start()
    assert second.returncode == 1
    assert f"in use by process {up.process.pid if up.process else None}" in second.stdout.replace("\n", " ")

    # A killed child comes back on its port, and the ready file tells its new process id.
    os.kill(ready["pids"]["ingest"], signal.SIGKILL)
    until(lambda: json.loads(up.ready_file.read_text())["pids"]["ingest"] != ready["pids"]["ingest"], 15)
    up.seen |= set(json.loads(up.ready_file.read_text())["pids"].values())
    until(lambda: accepted(ready, "after"), 15)
    until(lambda: "after" in traces(ready), 15)

    stream = redis.Redis.from_url(ready["redis_url"])
    stream.xadd("kept", {"n": 1})
    time.sleep(1.1)  # appendfsync everysec
    up.end(signal.SIGKILL)
    until(lambda: all(gone(pid) for pid in up.seen), 10)

    again = up.start()
    assert again["keys"] == ready["keys"]
    assert len(traces(again)) == 4
    assert redis.Redis.from_url(again["redis_url"]).xlen("kept") == 1
    assert thumbs(again, "last") == 200
    until(lambda: "last" in traces(again), 15)
    assert up.end(signal.SIGTERM) == 0
    assert not up.ready_file.exists()
    assert all(gone(pid) for pid in up.seen)


def accepted(ready: dict[str, Any], trace: str) -> bool:
    try:
        return thumbs(ready, trace) == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("port", "(--port, ingest)"),
        ("analytics-port", "(--analytics-port, analytics)"),
        ("clickhouse-port", "(--clickhouse-port, ClickHouse)"),
        ("redis-port", "(--redis-port, Valkey)"),
    ],
)
def test_a_busy_port_is_told_by_name(option: str, words: str, up: Up) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = up.try_start(**{option: port})
    assert result.returncode == 1
    assert f"port {port} {words} is already in use" in result.stdout


def test_two_signals_end_it_at_once(up: Up) -> None:
    ready = up.start()
    assert up.process is not None
    # A worker that cannot drain: stopped, it hears no SIGTERM.
    os.kill(ready["pids"]["worker-1"], signal.SIGSTOP)
    up.process.send_signal(signal.SIGINT)
    until(lambda: "stopping" in up.output, 10)
    started = time.monotonic()
    up.end(signal.SIGINT)
    assert time.monotonic() - started < 10
    assert all(gone(pid) for pid in up.seen)


def test_servers_of_the_users_own_are_taken_instead(up: Up, tmp_path: Path) -> None:
    with (
        embedded_valkey(tmp_path / "own") as (redis_url, _),
        embedded_clickhouse(tmp_path / "own", database="elsewhere") as (clickhouse_url, _),
    ):
        ready = up.start(servers={"PLAUDIT_REDIS_URL": redis_url, "PLAUDIT_CLICKHOUSE_URL": clickhouse_url})
        assert set(ready["pids"]) == {"ingest", "worker-1", "analytics"}
        assert (ready["redis_url"], ready["clickhouse_url"]) == (redis_url, clickhouse_url)
        assert thumbs(ready, "own") == 200
        until(lambda: "own" in stored(clickhouse_url), 15)
        assert up.end(signal.SIGTERM) == 0


def stored(clickhouse_url: str) -> str:
    return Sql(clickhouse_url).text("SELECT trace_id FROM feedback_events")
