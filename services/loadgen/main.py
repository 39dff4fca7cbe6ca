"""``plaudit loadgen``: sends feedback as people and SDKs do, and checks that all of it arrived, once and right."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

from clickhouse_connect.driver.exceptions import ClickHouseError
from pydantic import SecretStr
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from services.loadgen import ledger as ledgers
from services.loadgen.compare import Verdict
from services.loadgen.history import Outcome
from services.loadgen.options import LoadOptions, OptionsError, find_clickhouse, find_target
from services.loadgen.outcomes import JoinedOutcomes, OutcomeLog
from services.loadgen.plan import Plan, make_plan
from services.loadgen.processes import send_all
from services.loadgen.report import Sending, as_json, show, summed
from services.loadgen.requests import deal_lanes
from services.loadgen.sending import Listener, assign
from services.loadgen.stored import ClickHouseStore
from services.loadgen.verify import Verifier
from shared import storage
from shared.errors import StoreUnavailableError
from shared.settings import ClickHouseSettings

FINE, FAULTY, NOT_STARTED = 0, 1, 2
"""Exit statuses."""

_BUILD_SECONDS = 40e-6
"""Roughly what building one event's request takes; the plan's times count from when sending begins."""


def run(options: LoadOptions, console: Console) -> int:
    """One run, or the judgement of an earlier one.

    Returns the exit status: 0 if all is well; 1 if something was lost, counted twice, wrong or unexpected, or nothing
    was accepted at all; 2 if the run could not be done.
    """
    try:
        if options.verify_only:
            return _judge_ledger(options, console)
        return _send_and_judge(options, console)
    except (OptionsError, StoreUnavailableError) as error:
        Console(stderr=True).print(str(error), style="red", markup=False)
        return NOT_STARTED


def _send_and_judge(options: LoadOptions, console: Console) -> int:
    target = find_target(options)
    building = options.events * _BUILD_SECONDS / options.processes
    plan = make_plan(options, run=secrets.token_hex(4), started=int((time.time() + building) * 1e6))
    if options.ledger:
        ledgers.begin(options.ledger, plan, target.project)
    expected = round(plan.events * (1 + plan.duplicates))
    with _progress(console, hidden=options.json) as progress:
        build_bar = progress.add_task("building requests", total=plan.events)
        send_bar = progress.add_task("sending events", total=None)
        listener = Listener(
            built=lambda acts: progress.advance(build_bar, acts),
            wait_for_start=lambda: progress.update(send_bar, total=expected),
            sent=lambda acts: progress.advance(send_bar, acts),
        )
        assignments = [
            assign(options, plan, target, lanes) for lanes in deal_lanes(plan, min(options.processes, plan.lanes))
        ]
        parts = send_all(assignments, listener)
        progress.update(send_bar, completed=expected)
        sending = summed(parts)
        verdict = None
        if options.verify:
            verdict = _verify(
                options, plan, JoinedOutcomes([part.outcomes for part in parts]), target.project, progress
            )
    return _conclude(options, console, plan, sending, verdict)


def _judge_ledger(options: LoadOptions, console: Console) -> int:
    assert options.verify_only is not None
    ledger = ledgers.read_ledger(options.verify_only)
    with _progress(console, hidden=options.json) as progress:
        verdict = _verify(options, ledger.plan, ledger, ledger.project, progress)
    return _conclude(options, console, ledger.plan, None, verdict)


def _verify(options: LoadOptions, plan: Plan, outcomes: OutcomeLog, project: str, progress: Progress) -> Verdict:
    settings = ClickHouseSettings(clickhouse_url=SecretStr(find_clickhouse(options)))
    client = storage.connect(settings)
    bar = progress.add_task("verifying lanes", total=plan.lanes)
    try:
        return Verifier(
            plan=plan,
            outcomes=outcomes,
            store=ClickHouseStore(client, project),
            timeout=options.verify_timeout,
            judged=lambda lanes: progress.advance(bar, lanes),
        ).run()
    except (ClickHouseError, OSError) as error:
        raise StoreUnavailableError("clickhouse", storage.describe(error)) from error
    finally:
        client.close()


def _conclude(
    options: LoadOptions, console: Console, plan: Plan, sending: Sending | None, verdict: Verdict | None
) -> int:
    nothing_accepted = sending is not None and not sending.acts[Outcome.ACKED]
    status = FAULTY if nothing_accepted or (verdict and not verdict.faultless) else FINE
    if options.json:
        console.print_json(data=as_json(plan, sending, verdict, status))
    else:
        show(console, plan, sending, verdict)
        if nothing_accepted:
            console.print("nothing was accepted", style="red")
    return status


@contextmanager
def _progress(console: Console, *, hidden: bool) -> Iterator[Progress]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=hidden) as progress:
        yield progress
