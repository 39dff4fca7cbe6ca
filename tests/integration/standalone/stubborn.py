"""A child for the supervisor's tests: writes its process id, then does as it is told."""

import signal
import sys
import time
from pathlib import Path


def main() -> None:
    manner, log = sys.argv[1], Path(sys.argv[2])
    with log.open("a") as file:
        file.write("started\n")

    def on_term(*_: object) -> None:
        if manner != "deaf":
            with log.open("a") as file:
                file.write(f"stopped {time.monotonic_ns()}\n")
            sys.exit(0)

    signal.signal(signal.SIGTERM, on_term)
    if manner == "crash":
        sys.exit(3)
    with log.with_suffix(".ready").open("w") as file:
        file.write("ready")
    while True:
        signal.pause()


main()
