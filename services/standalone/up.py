"""``plaudit up``: the whole pipeline on one machine, from one command."""

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from rich.console import Console

from services.standalone import banner
from services.standalone.data_folder import READY_FILE, default_folder, load_credentials, write_private
from services.standalone.locking import FolderLock
from services.standalone.ports import PortWish, settle_ports
from services.standalone.stack import (
    ANALYTICS,
    CLICKHOUSE,
    INGEST,
    VALKEY,
    Plan,
    Running,
    start_stack,
)
from services.standalone.supervisor import Supervisor
from shared.errors import PlauditError
from shared.settings import TelemetrySettings
from shared.telemetry import configure_logging

log = structlog.get_logger()

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What the user asked for.

    Attributes:
        data: The data folder, or None for the user's own (see data_folder).
        port: Of ingest; 0 picks a free one, as for the others.
        analytics_port: Of the query API and the page.
        clickhouse_port: Of the embedded ClickHouse.
        redis_port: Of the embedded Valkey.
        workers: How many.
        ready_file: Written when all is ready, removed on the way out.

    """

    data: Path | None = None
    port: int = 8080
    analytics_port: int = 8081
    clickhouse_port: int = 8123
    redis_port: int = 0
    workers: int = 1
    ready_file: Path | None = None


class _ReadyFile:
    """The ready file, written again whenever a child has got another process id.

    One where the user wants it, and always one in the data folder, where the other commands look.
    """

    def __init__(self, *paths: Path | None) -> None:
        self._paths = [path for path in paths if path is not None]
        self._running: Running | None = None
        self.remove()

    def ready(self, running: Running, pids: Mapping[str, int]) -> None:
        self._running = running
        self.update(pids)

    def update(self, pids: Mapping[str, int]) -> None:
        if self._running is not None:
            for path in self._paths:
                write_private(path, json.dumps(self._running.as_json(pids), indent=2) + "\n")

    def remove(self) -> None:
        self._running = None
        for path in self._paths:
            path.unlink(missing_ok=True)


class _StopSignal:
    """The first signal asks for an orderly stop, the second kills at once."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self.asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self.asked.is_set():
            self._supervisor.kill()
        self.asked.set()


async def run_up(options: UpOptions, console: Console) -> int:
    """Start everything, keep it running until a signal comes, stop it in order.

    Returns:
        Exit status: 0 after a signal, 1 where it could not start.

    """
    configure_logging(TelemetrySettings(), "up")
    folder = (options.data or default_folder()).expanduser().resolve()
    try:
        with FolderLock(folder):
            return await _run_locked(folder, options, console)
    except PlauditError as error:
        console.print(f"plaudit up: {error}", style="bold red", markup=False, highlight=False, soft_wrap=True)
        return 1


async def _run_locked(folder: Path, options: UpOptions, console: Console) -> int:
    plan = _plan(folder, options)
    ready_file = _ReadyFile(options.ready_file, folder / READY_FILE)
    supervisor = Supervisor(on_change=ready_file.update)
    stop = _StopSignal(supervisor)
    starting = asyncio.create_task(start_stack(plan, supervisor))
    stopping = asyncio.create_task(stop.asked.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            running = starting.result()
            ready_file.ready(running, supervisor.pids)
            banner.show(running, console)
            await stopping
    finally:
        ready_file.remove()
        for task in (starting, stopping):
            task.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)
        log.info("stopping")
        await supervisor.stop()
        log.info("stopped")
    return 0


def _plan(folder: Path, options: UpOptions) -> Plan:
    redis_url = os.environ.get("PLAUDIT_REDIS_URL") or None
    clickhouse_url = os.environ.get("PLAUDIT_CLICKHOUSE_URL") or None
    wishes = {
        INGEST: PortWish("--port", "ingest", options.port),
        ANALYTICS: PortWish("--analytics-port", "analytics", options.analytics_port),
    }
    if clickhouse_url is None:
        wishes[CLICKHOUSE] = PortWish("--clickhouse-port", "ClickHouse", options.clickhouse_port)
    if redis_url is None:
        wishes[VALKEY] = PortWish("--redis-port", "Valkey", options.redis_port)
    return Plan(folder, load_credentials(folder), settle_ports(wishes), options.workers, redis_url, clickhouse_url)
