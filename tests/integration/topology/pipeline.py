"""A door and two workers on any Redis, under a load that knows what it sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from services.standalone.process import free_port, http_ok
from shared.keys import KeyKind
from shared.keys_admin import KeyAdmin
from shared.settings import ClickHouseSettings
from shared.storage import connect
from tests.support.processes import end

from .conftest import wait_for

_SHORT = {
    "PLAUDIT_REDIS_TIMEOUT": "2",
    "PLAUDIT_INGEST_APPEND_TIMEOUT": "2",
    "PLAUDIT_WORKER_CLAIM_IDLE": "2",
    "PLAUDIT_WORKER_READ_BLOCK": "0.2",
    "PLAUDIT_WORKER_BATCH_AGE": "0.1",
    "PLAUDIT_LOG_FORMAT": "json",
}
FAULTS = ("lost", "twice", "wrong", "current_wrong", "unexpected")


@dataclass(frozen=True)
class Pipeline:
    url: str
    clickhouse_url: str
    keys: tuple[str, str]
    folder: Path

    def load(self, events: int, rate: int) -> subprocess.Popen[bytes]:
        """Starts a load; its ledger and report are in the folder."""
        options = {
            "--ingest-url": self.url,
            "--clickhouse-url": self.clickhouse_url,
            "--project": "p",
            "--langwatch-key": self.keys[0],
            "--lunary-key": self.keys[1],
            "--events": str(events),
            "--rate": str(rate),
            "--verify-timeout": "60",
        }
        arguments = [part for option in options.items() for part in option]
        command = [sys.executable, "-m", "services.cli", "loadgen", "--verify", "--json", *arguments]
        with self.report.open("wb") as output:
            return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    @property
    def report(self) -> Path:
        return self.folder / "load.json"

    def verdict(self) -> dict[str, Any]:
        text = self.report.read_text()
        try:
            report: dict[str, Any] = json.loads(text)
        except json.JSONDecodeError as error:
            raise AssertionError(f"the load generator wrote: {text[-3000:]}") from error
        return report

    def logs(self) -> str:
        return "\n".join(f"{path.name}:\n{path.read_text()[-4000:]}" for path in sorted(self.folder.glob("*.log")))


@contextmanager
def pipeline(
    folder: Path, database: ClickHouseSettings, redis_url: str, env: Mapping[str, str], workers: int = 2
) -> Iterator[Pipeline]:
    """Started and ready; stopped at the end."""
    clickhouse_url = database.clickhouse_url.get_secret_value()
    client = connect(ClickHouseSettings(clickhouse_url=SecretStr(clickhouse_url)))
    keys = KeyAdmin(client)
    tokens = (keys.add("p", KeyKind.LANGWATCH, None), keys.add("p", KeyKind.LUNARY_PUBLIC, None))
    client.close()
    door = free_port()
    common = (
        os.environ | _SHORT | {"PLAUDIT_REDIS_URL": redis_url, "PLAUDIT_CLICKHOUSE_URL": clickhouse_url} | dict(env)
    )
    running = []
    try:
        wanted = [("ingest", {"PLAUDIT_INGEST_PORT": str(door)}, door)]
        for _ in range(workers):
            port = free_port()
            wanted.append(("worker", {"PLAUDIT_METRICS_PORT": str(port)}, port))
        for number, (service, own, _) in enumerate(wanted):
            with (folder / f"{service}-{number}.log").open("wb") as log:
                command = [sys.executable, "-m", "services.cli", service]
                running.append(subprocess.Popen(command, env=common | own, stdout=log, stderr=subprocess.STDOUT))
        made = Pipeline(f"http://127.0.0.1:{door}", clickhouse_url, tokens, folder)
        for (service, _, port), process in zip(wanted, running, strict=True):

            def ready(service: str = service, port: int = port, process: subprocess.Popen[bytes] = process) -> bool:
                assert process.poll() is None, made.logs()
                return http_ok(port, "/health/ready")

            wait_for(ready, f"{service} to be ready", 60)
        yield made
    finally:
        end(running, 40)
