"""A service whose wall clock is off by what a file says at each moment: ``python -m tests.chaos.jumping_clock ingest``.

``PLAUDIT_CHAOS_CLOCK``: the file, seconds as text. Stands in for a library that fakes the clock of a whole process;
monotonic clocks are left alone, as the system leaves them alone when its wall clock is set.
"""

from __future__ import annotations

import os
import time

_TEXT = 32


def set_off(seconds: float) -> bytes:
    """What the file has to hold."""
    return f"{seconds:<{_TEXT}}".encode()


def _main() -> None:
    real = time.time_ns
    clock = os.open(os.environ["PLAUDIT_CHAOS_CLOCK"], os.O_RDONLY)

    def time_ns() -> int:
        return real() + int(float(os.pread(clock, _TEXT, 0)) * 1e9)

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9

    # Only now, so that whoever keeps the function itself keeps this one.
    from services.cli import main

    main()


if __name__ == "__main__":
    _main()
