"""A service's process, and what a scenario does to one."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

from services.standalone.process import ProcessSpec, start

_POLL = 0.03


class PieceError(AssertionError):
    """A process did not do what it had to; the message holds the end of its log."""

    def __init__(self, name: str, problem: str, log: Path) -> None:
        text = log.read_text(encoding="utf-8", errors="replace")[-3000:] if log.exists() else ""
        super().__init__(f"{name} {problem}; its log ends:\n{text}")


class Piece:
    """One process by its name. It dies with the test's own process. Start it from the main thread."""

    def __init__(self, spec: ProcessSpec, log: Path) -> None:
        self.spec = spec
        self.log = log
        self.starts = 0
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def pid(self) -> int:
        """Of the process that runs now, or ran last."""
        assert self._process is not None, "it was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there (paused counts)."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Returns at once; a running process is left alone."""
        if self.running:
            return
        with self.log.open("ab") as output:
            self._log_start = output.tell()
            self._process = start(self.spec, output)
        self.starts += 1

    def wait_ready(self) -> None:
        """Raises PieceError if it ends first, or takes too long."""
        deadline = time.monotonic() + self.spec.ready_seconds
        while not self.spec.ready():
            if not self.running:
                raise PieceError(self.name, "ended while it was starting", self.log)
            if time.monotonic() > deadline:
                raise PieceError(self.name, "did not become ready", self.log)
            time.sleep(_POLL)

    def wait_logged(self, words: str, seconds: float = 20.0) -> None:
        """Returns when it has said so since it was last started. Raises PieceError if it does not."""
        deadline = time.monotonic() + seconds
        while words not in self.log.read_bytes()[self._log_start :].decode(errors="replace"):
            if not self.running or time.monotonic() > deadline:
                raise PieceError(self.name, f"did not log {words!r}", self.log)
            time.sleep(_POLL)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> None:
        """SIGTERM; returns at once."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()

    def wait_stopped(self, seconds: float = 30.0) -> int:
        """The exit status of a process that was told to stop. Raises PieceError if it does not."""
        assert self._process is not None, "it was never started"
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise PieceError(self.name, f"did not stop within {seconds:g} s of SIGTERM", self.log) from None

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        assert self._process is not None, "it was never started"
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
