"""One process's share of a run: build its requests, wait for the word, send them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from services.loadgen.driver import Driver
from services.loadgen.ledger import LedgerWriter
from services.loadgen.options import LoadOptions, Target
from services.loadgen.plan import Plan
from services.loadgen.requests import Prebuilt, build
from services.loadgen.sent import Sent

_REPORT_EVERY = 0.2


@dataclass(frozen=True, slots=True)
class Assignment:
    """rate: events a second of this process. connections: its own."""

    plan: Plan
    target: Target
    lanes: Sequence[int]
    connections: int
    rate: float
    request_timeout: float
    patience: float
    ledger: Path | None


@dataclass(frozen=True, slots=True)
class Listener:
    """Is told of progress, as acts since it was last told; ``wait_for_start`` returns when sending may begin."""

    built: Callable[[int], None]
    wait_for_start: Callable[[], None]
    sent: Callable[[int], None]


def assign(options: LoadOptions, plan: Plan, target: Target, lanes: Sequence[int]) -> Assignment:
    part = len(lanes) / plan.lanes
    return Assignment(
        plan=plan,
        target=target,
        lanes=lanes,
        connections=max(1, round(options.connections * part)),
        rate=options.rate * part,
        request_timeout=options.request_timeout,
        patience=options.patience,
        ledger=options.ledger,
    )


def send(assignment: Assignment, listener: Listener) -> Sent:
    """Builds, waits, sends. Ctrl-C ends sending early, and what was sent is still told. Raises TargetAwayError."""
    requests = build(assignment.plan, assignment.lanes, assignment.target, listener.built)
    listener.wait_for_start()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_drive(assignment, requests, listener))


async def _drive(assignment: Assignment, requests: Prebuilt, listener: Listener) -> Sent:
    ledger = LedgerWriter(assignment.ledger) if assignment.ledger else None
    acts = max(1, sum(requests.acts))
    driver = Driver(
        requests,
        address=assignment.target.address,
        connections=assignment.connections,
        # Requests are evenly spaced; it is the events of all of them together that come at the rate.
        interval=acts / requests.count / assignment.rate if assignment.rate and requests.count else 0.0,
        request_timeout=assignment.request_timeout,
        patience=assignment.patience,
        ledger=ledger,
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, driver.stop)
    reporting = asyncio.create_task(_report(driver, listener))
    try:
        return await driver.run()
    finally:
        reporting.cancel()
        if ledger:
            ledger.close()


async def _report(driver: Driver, listener: Listener) -> None:
    told = 0
    while True:
        await asyncio.sleep(_REPORT_EVERY)
        total = driver.sent.acts.total()
        try:
            listener.sent(total - told)
        except OSError:
            # Nobody listens any more: whoever started the run is dead, so nobody will judge what comes.
            driver.stop()
            return
        told = total
