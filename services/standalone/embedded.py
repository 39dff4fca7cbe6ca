"""The two embedded servers by themselves, started and stopped from a test or a script.

with embedded_valkey(tmp_path) as (redis_url, valkey), embedded_clickhouse(tmp_path) as (clickhouse_url, _):
    ...
    valkey.kill()
    valkey.restart()
"""

import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from services.standalone.clickhouse.spec import ClickHouseOptions, clickhouse_spec
from services.standalone.process import ProcessSpec, free_port, start
from services.standalone.valkey import DEFAULT_MAX_MEMORY, ValkeyOptions, valkey_spec
from shared.errors import PlauditError

_POLL_SECONDS: Final = 0.02


class NotReadyError(PlauditError):
    """A server ended or took too long while it was starting; the message holds the end of its log."""

    def __init__(self, name: str, log: Path) -> None:
        text = log.read_text(encoding="utf-8", errors="replace")[-2000:] if log.exists() else ""
        super().__init__(f"{name} did not become ready; its log ends:\n{text}")


class EmbeddedServer:
    """A server process, with what a test does to one.

    Start it from a thread that lives on: on Linux the server dies with the thread that started it.

    Attributes:
        url: Where clients connect, with credentials; the same after a restart.
        log: File of its output.

    """

    def __init__(self, spec: ProcessSpec, url: str, log: Path) -> None:
        self.url = url
        self.log = log
        self._spec = spec
        self._process = self._start()

    @property
    def pid(self) -> int:
        """Of the process that runs now, or ran last."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there (paused counts)."""
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL where it takes too long. Nothing happens where it is gone."""
        if not self.running:
            return
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(self._spec.drain_seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def restart(self) -> None:
        """Start again with the same port and data, and wait until it is ready. A running one is stopped first.

        Raises:
            NotReadyError: It did not come up.

        """
        self.stop()
        self._process = self._start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def _start(self) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as output:
            process = start(self._spec, output)
        deadline = time.monotonic() + self._spec.ready_seconds
        while process.poll() is None and time.monotonic() < deadline:
            if self._spec.ready():
                return process
            time.sleep(_POLL_SECONDS)
        process.kill()
        process.wait()
        raise NotReadyError(self._spec.name, self.log)


@contextmanager
def embedded_valkey(
    folder: Path,
    port: int = 0,
    *,
    max_memory: int = DEFAULT_MAX_MEMORY,
    appendfsync: Literal["everysec", "always", "no"] = "everysec",
) -> Iterator[tuple[str, EmbeddedServer]]:
    """A Valkey with its data in ``folder/valkey`` and a random password; a port of 0 picks a free one.

    Raises:
        NoValkeyError: No server binary on this machine.
        NotReadyError: It did not come up.

    """
    options = ValkeyOptions(port or free_port(), secrets.token_urlsafe(24), max_memory, appendfsync)
    yield from _run(valkey_spec(folder / "valkey", options), options.url, folder)


@contextmanager
def embedded_clickhouse(
    folder: Path, port: int = 0, *, database: str = "plaudit", max_memory: int | None = None
) -> Iterator[tuple[str, EmbeddedServer]]:
    """A ClickHouse with its data in ``folder/clickhouse``, a random password and an empty ``database``.

    Raises:
        NotReadyError: It did not come up.

    """
    options = ClickHouseOptions(
        port or free_port(), secrets.token_urlsafe(24), database=database, max_memory=max_memory
    )
    yield from _run(clickhouse_spec(folder / "clickhouse", options), options.url, folder)


def _run(spec: ProcessSpec, url: str, folder: Path) -> Iterator[tuple[str, EmbeddedServer]]:
    folder.mkdir(parents=True, exist_ok=True)
    server = EmbeddedServer(spec, url, folder / f"{spec.name}.log")
    try:
        yield url, server
    finally:
        server.stop()
