"""Real clusters and Sentinels on loopback, of the server binary that the standalone stack uses."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from services.standalone.process import free_port
from services.standalone.valkey import find_server

_START_SECONDS = 20.0


class Server:
    """One server process; the same port and folder after a restart."""

    def __init__(self, folder: Path, *options: str, bus: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.bus = bus
        self.folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [find_server(), *self.command], cwd=self.folder, stdout=log, stderr=subprocess.STDOUT
            )
        wait_for(lambda: self.ask("PING"), "the server to answer")

    @property
    def command(self) -> list[str]:
        return ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", *self._options]

    def ask(self, *command: Any) -> Any:
        with redis.Redis(port=self.port, socket_timeout=2, protocol=2) as client:
            return client.execute_command(*command)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()


class SentinelServer(Server):
    """Watches the master ``feedback`` on a port; two of three decide."""

    def __init__(self, folder: Path, master: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._configuration = folder / "sentinel.conf"
        self._master = master
        super().__init__(folder)

    @property
    def command(self) -> list[str]:
        if not self._configuration.exists():
            self._configuration.write_text(
                f"port {self.port}\nbind 127.0.0.1\n"
                f"sentinel monitor feedback 127.0.0.1 {self._master} 2\n"
                "sentinel down-after-milliseconds feedback 1000\nsentinel failover-timeout feedback 5000\n"
            )
        return [str(self._configuration), "--sentinel"]


def wait_for(check: Callable[[], Any], what: str, seconds: float = _START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if check():
                return
        except (redis.RedisError, OSError):
            pass
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s for {what}")
        time.sleep(0.05)


def agrees(master: Server) -> bool:
    return b"cluster_slots_ok:16384" in master.ask("CLUSTER", "INFO")


def knows_all(watcher: SentinelServer) -> bool:
    replicas = watcher.ask("SENTINEL", "REPLICAS", "feedback")
    others = watcher.ask("SENTINEL", "SENTINELS", "feedback")
    return (len(replicas), len(others)) == (1, 2)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[Server]]:
    """Three masters, each with a third of the slots and an append-only file."""
    masters = []
    try:
        for number in range(3):
            # Else the bus is at the port + 10000, which may be beyond the last.
            bus = free_port()
            masters.append(
                Server(
                    tmp_path / f"master-{number}",
                    *("--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", "2000"),
                    *("--cluster-require-full-coverage", "no", "--appendonly", "yes", "--appendfsync", "always"),
                    *("--maxmemory", "200mb", "--maxmemory-policy", "noeviction"),
                    bus=bus,
                )
            )
        for number, master in enumerate(masters):
            first, last = 16384 * number // 3, 16384 * (number + 1) // 3 - 1
            master.ask("CLUSTER", "ADDSLOTSRANGE", first, last)
            if number:
                master.ask("CLUSTER", "MEET", "127.0.0.1", masters[0].port, masters[0].bus)
        for master in masters:
            wait_for(partial(agrees, master), "the cluster to agree")
        yield masters
    finally:
        for master in masters:
            master.kill()


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[tuple[list[Server], list[SentinelServer]]]:
    """A master with a replica, and three Sentinels that know both."""
    options = ("--appendonly", "yes", "--maxmemory", "200mb", "--maxmemory-policy", "noeviction")
    servers: list[Server] = []
    watchers: list[SentinelServer] = []
    try:
        servers.append(Server(tmp_path / "one", *options))
        servers.append(Server(tmp_path / "two", *options, "--replicaof", f"127.0.0.1 {servers[0].port}"))
        wait_for(lambda: servers[0].ask("INFO", "replication")["connected_slaves"] == 1, "the replica")
        watchers += [SentinelServer(tmp_path / f"sentinel-{n}", servers[0].port) for n in range(3)]
        for watcher in watchers:
            wait_for(partial(knows_all, watcher), "the Sentinels to see the replica and each other")
        yield servers, watchers
    finally:
        for server in (*servers, *watchers):
            server.kill()
