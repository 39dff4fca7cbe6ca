"""Kills the children when the supervisor is gone: for systems without PR_SET_PDEATHSIG.

Reads lines ``+PID`` and ``-PID`` on standard input. The end of the input means that whoever held the other end has
died, however that happened: every process still on the list is killed. Their data survives that by design.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterable


def watch(lines: Iterable[str]) -> set[int]:
    """Follow the list until it ends; return the processes that are still on it."""
    alive: set[int] = set()
    for line in lines:
        sign, pid = line[:1], line[1:].strip()
        if not pid.isdigit():
            continue
        if sign == "+":
            alive.add(int(pid))
        elif sign == "-":
            alive.discard(int(pid))
    return alive


def main() -> None:
    # Ctrl-C reaches the whole terminal; the watchdog ends only with its supervisor.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for pid in watch(sys.stdin):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
