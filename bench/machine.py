"""Where a run was made, and who runs on which core."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import chdb

from services.standalone.valkey import find_server

_CORES = sorted(os.sched_getaffinity(0))
MEASURED_CORE = _CORES[0]
"""The process that is measured has this core to itself."""
OTHER_CORE = _CORES[1 % len(_CORES)]
"""Everything else: load, Redis, ClickHouse, this program."""

_PACKAGES = (
    "chdb-core",
    "clickhouse-connect",
    "faststream",
    "hiredis",
    "httptools",
    "msgspec",
    "pydantic",
    "redis",
    "starlette",
    "uvicorn",
    "uvloop",
)


@contextmanager
def on_core(*cores: int) -> Iterator[None]:
    """Processes started meanwhile stay on these cores; so does this thread, until it leaves."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def describe() -> dict[str, Any]:
    """Machine and versions, as far as they bear on the figures."""
    return {
        "cpu": _from_file("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": len(_CORES),
        "memory_kib": int((_from_file("/proc/meminfo", "MemTotal") or "0 kB").split()[0]),
        "system": platform.platform(),
        "hypervisor": "hypervisor" in (_from_file("/proc/cpuinfo", "flags") or "").split(),
        "python": platform.python_version(),
        "redis_server": subprocess.run(
            [str(find_server()), "--version"], capture_output=True, text=True, check=True
        ).stdout.strip(),
        "clickhouse_engine": str(chdb.engine_version),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def _from_file(path: str, name: str) -> str | None:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)
