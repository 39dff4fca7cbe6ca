"""The processes of a measurement: embedded servers with tables and keys, services, and what they used."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from bench.machine import MEASURED_CORE, OTHER_CORE, on_core
from services.standalone.embedded import EmbeddedServer, embedded_clickhouse, embedded_valkey
from services.standalone.process import ProcessSpec, free_port, http_ok, python_argv
from services.standalone.services import Backends
from shared.keys import KeyKind
from shared.keys_admin import KeyAdmin
from shared.migrate import migrate
from shared.settings import ClickHouseSettings, RedisSettings
from shared.storage import connect

PROJECT = "bench"
LANGWATCH_KEY = "sk-lw-" + "bench" * 8
LUNARY_KEY = "0bec4bec-0000-4000-8000-000000000001"
_GIB = 1 << 30
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Stage:
    """Servers that stand for the length of a measurement."""

    folder: Path
    backends: Backends
    valkey: EmbeddedServer

    @property
    def redis(self) -> RedisSettings:
        return RedisSettings(redis_url=SecretStr(self.backends.redis_url))

    @property
    def clickhouse(self) -> ClickHouseSettings:
        return ClickHouseSettings(clickhouse_url=SecretStr(self.backends.clickhouse_url))


@contextmanager
def stage(
    *, appendfsync: Literal["everysec", "always", "no"] = "everysec", cores: tuple[int, ...] = (OTHER_CORE,)
) -> Iterator[Stage]:
    """Valkey and ClickHouse with tables and keys, on the other core or on those given."""
    with (
        tempfile.TemporaryDirectory(prefix="plaudit-bench-") as name,
        on_core(*cores),
        embedded_valkey(Path(name), max_memory=6 * _GIB, appendfsync=appendfsync) as (redis_url, valkey),
        embedded_clickhouse(Path(name)) as (clickhouse_url, _),
    ):
        made = Stage(Path(name), Backends(redis_url, clickhouse_url), valkey)
        migrate(made.clickhouse)
        client = connect(made.clickhouse)
        admin = KeyAdmin(client)
        admin.add(PROJECT, KeyKind.LANGWATCH, LANGWATCH_KEY)
        admin.add(PROJECT, KeyKind.LUNARY_PUBLIC, LUNARY_KEY)
        client.close()
        yield made


@contextmanager
def running(spec: ProcessSpec, folder: Path, *cores: int) -> Iterator[EmbeddedServer]:
    """A process that is ready, on ``cores`` (the measured one by default)."""
    with on_core(*(cores or (MEASURED_CORE,))):
        server = EmbeddedServer(spec, "", folder / f"{spec.name}.log")
    try:
        yield server
    finally:
        server.stop()


def door_spec(port: int, backends: Backends, **settings: str) -> ProcessSpec:
    """``plaudit ingest`` as in production. ``settings``: more of the environment, without its prefix."""
    return _service("ingest", port, backends, {"INGEST_PORT": str(port), **settings})


def worker_spec(backends: Backends, number: int = 1, port: int = 0, **settings: str) -> ProcessSpec:
    """``plaudit worker`` as in production. ``port``: of its metrics; 0 picks a free one."""
    port = port or free_port()
    spec = _service("worker", port, backends, {"METRICS_PORT": str(port), **settings})
    return replace(spec, name=f"worker-{number}")


def _service(command: str, port: int, backends: Backends, settings: Mapping[str, str]) -> ProcessSpec:
    return ProcessSpec(
        name=command,
        argv=python_argv("services.cli", command),
        ready=lambda: http_ok(port, "/health/ready"),
        env={**backends.env, **{f"PLAUDIT_{name}": value for name, value in settings.items()}},
        drain_seconds=30.0,
    )


def ceiling_spec(name: str, *arguments: str, port: int = 0) -> ProcessSpec:
    """A program of ``bench.ceilings``; with a port it is ready when that answers, else at once."""
    return ProcessSpec(
        name=name,
        argv=python_argv(f"bench.ceilings.{name}", *arguments),
        ready=(lambda: http_ok(port, "/")) if port else (lambda: True),
    )


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak_memory(pid: int) -> int:
    """Bytes of resident memory at most so far."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)
