"""A supervised ``plaudit up`` on free ports: what a newcomer has, for tests that come as clients come."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from shared.settings import ClickHouseSettings
from shared.storage import connect

from .processes import end

ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 90
_STOP_SECONDS = 60


@dataclass(frozen=True)
class Ready:
    """What the ready file says. ``log``: what all processes of the stack wrote, but for the banner with its keys."""

    ingest_url: str
    clickhouse_url: str
    redis_url: str
    keys: Mapping[str, str]
    log: Path
    ready_file: Path

    def pids(self) -> dict[str, int]:
        """Process ids by name, as of now: a child that was started again has another."""
        pids: dict[str, int] = json.loads(self.ready_file.read_text())["pids"]
        return pids

    def rows(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """The answer to one SQL statement."""
        client = connect(ClickHouseSettings(clickhouse_url=SecretStr(self.clickhouse_url)))
        try:
            return [tuple(row) for row in client.query(query, parameters).result_rows]
        finally:
            client.close()

    def wait_for_rows(self, query: str, count: int, seconds: float = 30, **parameters: Any) -> list[tuple[Any, ...]]:
        """Its answer, as soon as it has ``count`` rows; what it has after ``seconds``."""
        deadline = time.monotonic() + seconds
        while True:
            rows = self.rows(query, **parameters)
            if len(rows) >= count or time.monotonic() > deadline:
                return rows
            time.sleep(0.05)

    def warm_up(self) -> None:
        """The first event of a worker waits for its imports: afterwards, times mean something."""
        body = {"trace_id": "warm-up", "event_type": "warm_up", "metrics": {}, "event_id": "warm-up"}
        headers = {"X-Auth-Token": self.keys["langwatch"]}
        httpx.post(f"{self.ingest_url}/api/track_event", json=body, headers=headers, timeout=30).raise_for_status()
        assert self.wait_for_rows("SELECT 1 FROM feedback_events WHERE trace_id = 'warm-up'", 1, 60)


@contextlib.contextmanager
def running_up(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Ready]:
    """``plaudit up`` until the end of the block; told to stop as Ctrl-C does. ``environment``: settings."""
    ready_file, log = folder / "ready.json", folder / "up.log"
    command = [sys.executable, "-m", "services.cli", "up", "--data", str(folder / "data")]
    for flag in ("--port", "--analytics-port", "--clickhouse-port", "--redis-port"):
        command += [flag, "0"]
    settings = {name: value for name, value in os.environ.items() if not name.startswith("PLAUDIT_")}
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--ready-file", str(ready_file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=output,
            cwd=ROOT,
            env=settings | dict(environment or {}),
        )
    try:
        told = _wait_for(ready_file, process, log)
        ready = Ready(told["ingest_url"], told["clickhouse_url"], told["redis_url"], told["keys"], log, ready_file)
        ready.warm_up()
        yield ready
    finally:
        end([process], _STOP_SECONDS)


def _wait_for(ready_file: Path, process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if ready_file.exists():
            told: dict[str, Any] = json.loads(ready_file.read_text())
            return told
        time.sleep(0.05)
    raise AssertionError(f"`plaudit up` did not become ready:\n{log.read_text()[-3000:]}")
