"""What a run came to: a table for people, JSON for scripts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.loadgen.compare import FAULTS, Verdict
from services.loadgen.histogram import Histogram
from services.loadgen.history import Outcome
from services.loadgen.plan import Plan
from services.loadgen.sent import Sent

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}


@dataclass(frozen=True, slots=True)
class Sending:
    """What was sent, by all processes together. Counts of acts include repetitions."""

    seconds: float
    statuses: Counter[int]
    acts: Counter[int]
    latency: Histogram
    service: Histogram
    reconnects: int
    faulty: int

    @property
    def requests(self) -> int:
        return self.statuses.total()


def summed(parts: list[Sent]) -> Sending:
    latency, service = Histogram(), Histogram()
    statuses: Counter[int] = Counter()
    acts: Counter[int] = Counter()
    for part in parts:
        latency.add(part.latency)
        service.add(part.service)
        statuses += part.statuses
        acts += part.acts
    return Sending(
        seconds=max(part.seconds for part in parts),
        statuses=statuses,
        acts=acts,
        latency=latency,
        service=service,
        reconnects=sum(part.reconnects for part in parts),
        faulty=sum(part.faulty for part in parts),
    )


def as_json(plan: Plan, sending: Sending | None, verdict: Verdict | None, status: int) -> dict[str, Any]:
    """Latencies in milliseconds, rates a second."""
    report: dict[str, Any] = {"run": plan.run, "seed": plan.seed, "lanes": plan.lanes, "exit_status": status}
    if sending:
        seconds = max(sending.seconds, 1e-9)
        report["sent"] = {
            "seconds": round(sending.seconds, 3),
            "requests": sending.requests,
            "requests_per_second": round(sending.requests / seconds, 1),
            "events_per_second": round(sending.acts.total() / seconds, 1),
            "statuses": {_status_name(code): count for code, count in sorted(sending.statuses.items())},
            "events": {outcome.name.lower(): sending.acts[outcome] for outcome in Outcome if outcome},
            "reconnects": sending.reconnects,
            "faulty_answers": sending.faulty,
            "latency_ms": _quantiles(sending.latency),
            "service_ms": _quantiles(sending.service),
        }
    if verdict:
        report["verified"] = {name: getattr(verdict, name) for name in Verdict.__slots__}
    return report


def show(console: Console, plan: Plan, sending: Sending | None, verdict: Verdict | None) -> None:
    if sending:
        _show_sending(console, plan, sending)
    if verdict:
        _show_verdict(console, verdict)


def _show_sending(console: Console, plan: Plan, sending: Sending) -> None:
    seconds = max(sending.seconds, 1e-9)
    table = Table(title=f"Sent (run {plan.run})", show_header=False)
    table.add_row("requests", f"{sending.requests:,} in {sending.seconds:.1f} s, {sending.requests / seconds:,.0f}/s")
    table.add_row("events, repetitions included", f"{sending.acts.total():,}, {sending.acts.total() / seconds:,.0f}/s")
    table.add_row(
        "answers", ", ".join(f"{_status_name(code)}: {count:,}" for code, count in sorted(sending.statuses.items()))
    )
    if sending.faulty:
        table.add_row("[red]answers that refuse an event[/]", f"[red]{sending.faulty:,}[/]")
    if sending.reconnects:
        table.add_row("reconnects", f"{sending.reconnects:,}")
    for name, histogram in (("latency", sending.latency), ("from sending to answer", sending.service)):
        quantiles = _quantiles(histogram)
        table.add_row(f"{name}, ms", "  ".join(f"{key} {value:g}" for key, value in quantiles.items()))
    console.print(table)


def _show_verdict(console: Console, verdict: Verdict) -> None:
    table = Table(title="Verified", show_header=False)
    table.add_row("accepted (distinct events acknowledged)", f"{verdict.accepted:,}")
    table.add_row("stored", f"{verdict.stored:,}")
    labels = {"twice": "counted twice", "wrong": "wrong in content", "current_wrong": "current feedback wrong"}
    for fault in FAULTS:
        count = getattr(verdict, fault)
        colour = "red" if count else "green"
        table.add_row(labels.get(fault, fault), f"[{colour}]{count:,}[/]")
    if verdict.ambiguous_present or verdict.ambiguous_absent:
        table.add_row(
            "without an answer",
            f"{verdict.ambiguous_present:,} stored, {verdict.ambiguous_absent:,} not; both are right",
        )
    table.add_row("traces", f"{verdict.traces:,}, {verdict.current_open:,} of them with more than one right answer")
    console.print(table)
    for sample in verdict.samples:
        console.print(escape(sample))


def _status_name(code: int) -> str:
    return str(code) if code else "no answer"


def _quantiles(histogram: Histogram) -> dict[str, float]:
    quantiles = {name: histogram.quantile(share) / 1000 for name, share in _QUANTILES.items()}
    return quantiles | {"max": histogram.greatest / 1000}
