"""Processes that tests start."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable


def end(processes: Iterable[subprocess.Popen[bytes]], seconds: float) -> None:
    """SIGTERM to all, then ``seconds`` for each; what is still there then is killed."""
    processes = list(processes)
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
