"""Load on a door from the other core, closed loop: as many requests as so many connections take."""

from __future__ import annotations

import gc
import resource
from typing import Any

import uvloop

from bench.machine import OTHER_CORE, on_core
from services.loadgen.driver import Driver
from services.loadgen.requests import Prebuilt

CONNECTIONS = 64


class UnexpectedAnswersError(Exception):
    """A door under measurement answered otherwise than 200: its figures would mean nothing."""


def flood(requests: Prebuilt, port: int, connections: int = CONNECTIONS) -> dict[str, Any]:
    """Sends everything once. Times in microseconds, from sending to the answer."""
    driver = Driver(
        requests,
        address=("127.0.0.1", port),
        connections=connections,
        interval=0.0,
        request_timeout=60.0,
        patience=30.0,
    )
    gc.collect()
    gc.freeze()
    before = resource.getrusage(resource.RUSAGE_SELF)
    with on_core(OTHER_CORE):
        sent = uvloop.run(driver.run())
    after = resource.getrusage(resource.RUSAGE_SELF)
    gc.unfreeze()
    if set(sent.statuses) != {200}:
        raise UnexpectedAnswersError(dict(sent.statuses))
    return {
        "requests_per_second": requests.count / sent.seconds,
        "p50_us": sent.service.quantile(0.5),
        "p99_us": sent.service.quantile(0.99),
        "seconds": sent.seconds,
        "client_cpu_share": (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / sent.seconds,
    }
