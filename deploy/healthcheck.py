"""The image's health check: one container runs one service, so whichever of the ports listens must say that it lives.

Liveness, not readiness: a container must not be restarted because a server that it needs is away.
"""

from __future__ import annotations

import http.client
import os
import sys

_PROBES = (
    ("PLAUDIT_INGEST_PORT", 8080, "/health/live"),
    ("PLAUDIT_METRICS_PORT", 9464, "/health/live"),
    ("PLAUDIT_ANALYTICS_PORT", 8081, "/health"),
)
_SECONDS = 2.0


def alive(port: int, path: str) -> bool | None:
    """None: nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except ConnectionRefusedError:
        return None
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main() -> int:
    """Exit status: 0 healthy, 1 not."""
    found = [alive(int(os.environ.get(name, port)), path) for name, port, path in _PROBES]
    answers = [answer for answer in found if answer is not None]
    return 0 if answers and all(answers) else 1


if __name__ == "__main__":
    sys.exit(main())
