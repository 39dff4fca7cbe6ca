"""The pipeline as a scenario needs it: real processes on short settings, killed, paused and started by name."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import redis

from services.standalone.embedded import EmbeddedServer
from services.standalone.process import free_port, http_ok
from services.standalone.services import Backends, ingest_spec, worker_spec
from shared.dead_letters import KEY as DEAD_LETTERS
from shared.settings import ClickHouseSettings, RedisSettings
from shared.streams import partitions

from .load import Judgement, Keys, Load, LoadShape, patience
from .pieces import Piece

SHORT = {
    "PLAUDIT_REDIS_TIMEOUT": "1",
    "PLAUDIT_KEYS_REFRESH": "1",
    "PLAUDIT_INGEST_APPEND_TIMEOUT": "1",
    "PLAUDIT_CLICKHOUSE_TIMEOUT": "5",
    "PLAUDIT_CLICKHOUSE_CONNECT_TIMEOUT": "2",
    "PLAUDIT_WORKER_CLAIM_IDLE": "1.5",
    "PLAUDIT_WORKER_RETRY_BASE": "0.05",
    "PLAUDIT_WORKER_RETRY_CAP": "0.5",
    "PLAUDIT_WORKER_READ_BLOCK": "0.2",
    "PLAUDIT_WORKER_BATCH_AGE": "0.1",
    "PLAUDIT_LOG_FORMAT": "json",
}
"""Every wait of the pipeline, short enough that seconds show what takes minutes in production."""

_STREAM, _GROUP = partitions(RedisSettings())[0], RedisSettings().consumer_group
_POLL = 0.05
_WARM_SECONDS = 20.0


@dataclass(frozen=True)
class Servers:
    """The servers that the tests share, and this test's own database and keys in them."""

    valkey: EmbeddedServer
    clickhouse: EmbeddedServer
    database: ClickHouseSettings
    keys: Keys

    @property
    def clickhouse_url(self) -> str:
        return self.database.clickhouse_url.get_secret_value()

    @property
    def redis_port(self) -> int:
        return urlsplit(self.valkey.url).port or 0

    @property
    def clickhouse_port(self) -> int:
        return urlsplit(self.clickhouse.url).port or 0


def through(url: str, port: int) -> str:
    """The same URL by way of a proxy on ``port``."""
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}"))


@dataclass(frozen=True)
class Wiring:
    """How many of each, and how they reach their servers: None is the straight way."""

    workers: int = 1
    doors: int = 1
    redis_port: int | None = None
    clickhouse_port: int | None = None
    spool: bool = False
    env: Mapping[str, str] = field(default_factory=dict)


class Stack:
    """Doors are called ``ingest-1``, ``ingest-2``; workers ``worker-1`` and so on; servers ``redis``, ``clickhouse``."""

    def __init__(self, servers: Servers, folder: Path, wiring: Wiring) -> None:
        self.servers = servers
        self.folder = folder
        self.pieces: dict[str, Piece] = {}
        self.door_ports = [free_port() for _ in range(wiring.doors)]
        self.kills = 0
        self.last_fault: float | None = None
        redis_url, clickhouse_url = servers.valkey.url, servers.clickhouse_url
        backends = Backends(
            through(redis_url, wiring.redis_port) if wiring.redis_port else redis_url,
            through(clickhouse_url, wiring.clickhouse_port) if wiring.clickhouse_port else clickhouse_url,
        )
        env = {**SHORT, **wiring.env}
        for number, port in enumerate(self.door_ports, 1):
            spec = ingest_spec(port, backends, folder / "spool")
            kept = {name: value for name, value in spec.env.items() if wiring.spool or "SPOOL" not in name}
            self._add(replace(spec, name=f"ingest-{number}", env={**kept, **env}))
        for number in range(1, wiring.workers + 1):
            port = free_port()
            spec = worker_spec(number, port, backends)
            # Ready as soon as it lives: a scenario starts workers while their servers are away.
            ready = partial(http_ok, port, "/health/live")
            self._add(replace(spec, ready=ready, env={**spec.env, **env}))

    @property
    def url(self) -> str:
        """Of the first door."""
        return f"http://127.0.0.1:{self.door_ports[0]}"

    @property
    def doors(self) -> list[Piece]:
        return [piece for name, piece in self.pieces.items() if name.startswith("ingest")]

    @property
    def workers(self) -> list[Piece]:
        return [piece for name, piece in self.pieces.items() if name.startswith("worker")]

    def start(self) -> None:
        """Everything, and waits until it is ready."""
        for piece in self.pieces.values():
            piece.start()
        for piece in self.pieces.values():
            piece.wait_ready()

    def kill(self, name: str) -> None:
        """SIGKILL, whatever it is."""
        self.kills += 1
        self._victim(name).kill()

    def revive(self, name: str) -> None:
        """Starts what was killed; a server is ready then, a service may not be yet."""
        victim = self._victim(name)
        if isinstance(victim, Piece):
            victim.start()
        elif not victim.running:
            victim.restart()
        self.fault_ended()

    def pause(self, name: str) -> None:
        self._victim(name).pause()

    def resume(self, name: str) -> None:
        self._victim(name).resume()
        self.fault_ended()

    def fault_ended(self) -> None:
        """From now on things should mend: recovery is timed from the last of these moments."""
        self.last_fault = time.monotonic()

    def load(self, shape: LoadShape, seed: int, url: str | None = None) -> Load:
        """Starts a load and returns when it is under way and every worker has a share in it."""
        load = Load(url or self.url, self.servers.keys, shape, seed, self.folder)
        load.wait_sending()
        deadline = time.monotonic() + _WARM_SECONDS
        while not all(self.metric(worker, "plaudit_worker_settled_total") for worker in self.workers):
            assert time.monotonic() < deadline, "a worker does nothing"
            time.sleep(_POLL)
        return load

    @contextmanager
    def redis(self) -> Iterator[redis.Redis]:
        """The straight way to Redis, for the test itself."""
        with redis.Redis.from_url(self.servers.valkey.url, socket_timeout=5) as client:
            yield client

    def backlog(self) -> int:
        """Entries in the log; an unanswered question counts as many."""
        try:
            with self.redis() as client:
                return int(client.xlen(_STREAM))
        except (redis.RedisError, OSError):
            return 1 << 30

    def wait_drained(self, seconds: float = 40.0, left: int = 0) -> float:
        """Waits until the log is empty (or holds at most ``left``); returns how long after the last fault that was, or
        after this call.
        """
        started = time.monotonic()
        deadline = time.monotonic() + patience(seconds)
        while self.backlog() > left:
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.backlog()} entries are left in the log; pending: {self.pending()}")
            time.sleep(_POLL)
        return time.monotonic() - (self.last_fault or started)

    def append(self, fields: dict[bytes, bytes]) -> None:
        """An entry of the test's own."""
        with self.redis() as client:
            client.xadd(_STREAM, fields)  # type: ignore[arg-type]

    def metric(self, piece: Piece, name: str) -> float:
        """The sum of a metric's values over its labels."""
        port = piece.spec.env["PLAUDIT_METRICS_PORT"]
        lines = httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def destroy_group(self) -> None:
        """Redis forgets the group of the workers, with everything that was pending in it."""
        with self.redis() as client:
            client.xgroup_destroy(_STREAM, _GROUP)
        self.fault_ended()

    def wait_spool_empty(self, seconds: float = 20.0) -> None:
        """Returns when everything that was spooled is in the log."""
        deadline = time.monotonic() + patience(seconds)
        folders = {Path(door.spec.env["PLAUDIT_INGEST_SPOOL_DIR"]) for door in self.doors}
        while any(file.stat().st_size for folder in folders for file in folder.glob("*/*.spool")):
            assert time.monotonic() < deadline, "the spool does not empty"
            time.sleep(_POLL)

    def pending(self) -> int:
        with self.redis() as client:
            summary: Any = client.xpending(_STREAM, _GROUP)
        return int(summary["pending"])

    def consumers(self) -> Sequence[str]:
        with self.redis() as client:
            found: Any = client.xinfo_consumers(_STREAM, _GROUP)
        return [consumer["name"].decode() for consumer in found]

    def letters(self) -> list[bytes]:
        """The dead letters, packed."""
        with self.redis() as client:
            found: Any = client.hvals(DEAD_LETTERS)
        return list(found)

    def judge(self, load: Load, seconds: float = 5.0) -> Judgement:
        """Of a load whose log is empty again: what is in the tables against its ledger."""
        return load.judge(self.servers.clickhouse_url, patience(seconds))

    def logs(self) -> str:
        """Everything that the services wrote."""
        return "\n".join(piece.log.read_text(errors="replace") for piece in self.pieces.values() if piece.log.exists())

    def stop(self) -> dict[str, int]:
        """SIGTERM to all; returns the exit statuses of what was still running, doors first."""
        return self.stop_doors() | _stopped(self.workers)

    def stop_doors(self) -> dict[str, int]:
        """SIGTERM to the doors; returns the exit statuses of those that were still running."""
        return _stopped(self.doors)

    def kill_all(self) -> None:
        for piece in self.pieces.values():
            piece.kill()

    def _add(self, spec: Any) -> None:
        self.pieces[spec.name] = Piece(spec, self.folder / f"{spec.name}.log")

    def _victim(self, name: str) -> Piece | EmbeddedServer:
        servers = {"redis": self.servers.valkey, "clickhouse": self.servers.clickhouse}
        return servers.get(name) or self.pieces[name]


def _stopped(pieces: Iterable[Piece]) -> dict[str, int]:
    running = [piece for piece in pieces if piece.running]
    for piece in running:
        piece.terminate()
    return {piece.name: piece.wait_stopped() for piece in running}
