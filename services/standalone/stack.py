"""Starting the whole pipeline, in the order that it needs."""

import asyncio
import contextlib
import importlib
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from services.standalone.clickhouse.spec import ClickHouseOptions, clickhouse_spec
from services.standalone.data_folder import Credentials
from services.standalone.process import LOOPBACK, ProcessSpec, environment, free_port, launch_command, python_argv
from services.standalone.services import Backends, analytics_spec, ingest_spec, worker_spec
from services.standalone.supervisor import Supervisor
from services.standalone.valkey import ValkeyOptions, valkey_spec
from shared.errors import PlauditError
from shared.keys_admin import KeyAdmin
from shared.settings import ClickHouseSettings
from shared.storage import connect

PROJECT: Final = "default"
INGEST: Final = "ingest"
ANALYTICS: Final = "analytics"
CLICKHOUSE: Final = "clickhouse"
VALKEY: Final = "valkey"


class MigrationFailedError(PlauditError):
    """``plaudit migrate`` ended with an error, whose words the message holds."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start.

    Attributes:
        folder: The locked data folder.
        credentials: Its passwords and keys.
        ports: By service; ``clickhouse`` and ``valkey`` are missing where a server of the user's own is used.
        workers: How many.
        redis_url: The user's own Redis, or None for the embedded one.
        clickhouse_url: The user's own ClickHouse, or None for the embedded one.

    """

    folder: Path
    credentials: Credentials
    ports: Mapping[str, int]
    workers: int
    redis_url: str | None
    clickhouse_url: str | None


@dataclass(frozen=True, slots=True)
class Running:
    """What runs now: everything that a user or a script needs to speak to it."""

    ingest_url: str
    analytics_url: str
    backends: Backends
    credentials: Credentials
    metrics_urls: Mapping[str, str]

    def as_json(self, pids: Mapping[str, int]) -> dict[str, object]:
        """The content of the ready file."""
        keys = self.credentials
        return {
            "ingest_url": self.ingest_url,
            "analytics_url": self.analytics_url,
            "clickhouse_url": self.backends.clickhouse_url,
            "redis_url": self.backends.redis_url,
            "project": PROJECT,
            "keys": {
                "langwatch": keys.langwatch,
                "lunary_public": keys.lunary_public,
                "lunary_private": keys.lunary_private,
                "read": keys.read,
            },
            "pids": dict(pids),
            "metrics_urls": dict(self.metrics_urls),
        }


async def start_stack(plan: Plan, supervisor: Supervisor) -> Running:
    """Start the servers, bring the tables up to date, make the keys, start the services; return when all is ready.

    Raises:
        ChildNotReadyError: A child did not come up.
        MigrationFailedError: The tables could not be made.
        NoValkeyError: No server binary.

    """
    backends, servers = _servers(plan)
    for spec in servers:
        supervisor.start(spec)
    # The client imports pandas, where it is installed, at its first insert: a second that fits into the wait.
    warm = asyncio.create_task(asyncio.to_thread(_warm_up))
    await supervisor.wait_ready(*(spec.name for spec in servers))
    await _migrate(backends)
    await warm
    await asyncio.to_thread(_make_keys, backends.clickhouse_url, plan.credentials)
    metrics = {f"worker-{number}": free_port() for number in range(1, plan.workers + 1)}
    specs = [
        ingest_spec(plan.ports[INGEST], backends, plan.folder / "spool"),
        *(worker_spec(number, port, backends) for number, port in enumerate(metrics.values(), start=1)),
        analytics_spec(plan.ports[ANALYTICS], _url(plan.ports[INGEST]), backends),
    ]
    for spec in specs:
        supervisor.start(spec)
    await supervisor.wait_ready(*(spec.name for spec in specs))
    ports = {INGEST: plan.ports[INGEST], **metrics}
    return Running(
        ingest_url=_url(plan.ports[INGEST]),
        analytics_url=_url(plan.ports[ANALYTICS]),
        backends=backends,
        credentials=plan.credentials,
        metrics_urls={name: f"{_url(port)}/metrics" for name, port in ports.items()},
    )


def _url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"


def _servers(plan: Plan) -> tuple[Backends, list[ProcessSpec]]:
    redis_url, clickhouse_url = plan.redis_url, plan.clickhouse_url
    servers = []
    if redis_url is None:
        valkey = ValkeyOptions(plan.ports[VALKEY], plan.credentials.redis_password)
        servers.append(valkey_spec(plan.folder / "valkey", valkey))
        redis_url = valkey.url
    if clickhouse_url is None:
        clickhouse = ClickHouseOptions(plan.ports[CLICKHOUSE], plan.credentials.clickhouse_password)
        servers.append(clickhouse_spec(plan.folder / "clickhouse", clickhouse))
        clickhouse_url = clickhouse.url
    return Backends(redis_url, clickhouse_url), servers


async def _migrate(backends: Backends) -> None:
    spec = ProcessSpec("migrate", python_argv("services.cli", "migrate"), lambda: True, backends.env)
    process = await asyncio.create_subprocess_exec(
        *launch_command(spec),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(spec),
        start_new_session=True,
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode != os.EX_OK:
        raise MigrationFailedError(f"the migrations failed:\n{output.decode(errors='replace').strip()}")


def _warm_up() -> None:
    with contextlib.suppress(ImportError):
        importlib.import_module("pandas")


def _make_keys(clickhouse_url: str, credentials: Credentials) -> None:
    client = connect(ClickHouseSettings(clickhouse_url=SecretStr(clickhouse_url)))
    try:
        admin = KeyAdmin(client)
        for kind, token in credentials.tokens.items():
            admin.add(PROJECT, kind, token)
    finally:
        client.close()
