"""A plan of a run: everything that its requests depend on, so that the same plan gives the same bytes.

The traces of a run are dealt out to lanes. A lane has one request under way at a time (and its concurrent
repetitions), the next one follows its answer by at least GAP. So the order in which the door received the
requests of a trace is known, and what must come of them can be said exactly.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from services.loadgen.options import LoadOptions, parse_batch_sizes, parse_mix

GAP = 2_000
"""Microseconds between an answer and the next request of its lane: more than a clock is ever set back by slewing."""

_MOST_LANES = 0x10000


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """run: eight hex digits that begin all trace ids of the run. started: microseconds since 1970.

    batch_sizes: (low, high, weight) each.
    """

    run: str
    seed: int
    started: int
    events: int
    traces: int
    lanes: int
    langwatch: float
    batch_sizes: tuple[tuple[int, int, float], ...]
    other: float
    duplicates: float
    undo: float
    corrections: float

    def lane_events(self, lane: int) -> int:
        """Acts of feedback in the distinct requests of a lane; all lanes add up to ``events``."""
        return share(self.events, self.lanes, lane)

    def lane_langwatch_events(self, lane: int) -> int:
        """How many of ``lane_events`` are LangWatch's; all lanes add up to the share of the run."""
        before = lane * (self.events // self.lanes) + min(lane, self.events % self.lanes)
        after = before + self.lane_events(lane)
        return round(self.langwatch * after) - round(self.langwatch * before)

    def lane_traces(self, lane: int) -> int:
        return share(self.traces, self.lanes, lane)


def share(total: int, parts: int, part: int) -> int:
    """One of ``parts`` shares of ``total``, as even as whole numbers can be."""
    return total // parts + (part < total % parts)


_LEAST_LANE = 16
"""Requests of a lane at the least, so that its traces recur and its repetitions have something to come after."""


def make_plan(options: LoadOptions, *, run: str, started: int) -> Plan:
    """Enough lanes to keep all connections busy, but each long enough for Lunary's batches and for traces to recur."""
    traces = options.traces or max(1, options.events // 4)
    sizes = parse_batch_sizes(options.lunary_batch)
    batch = sum(size.weight * (size.low + size.high) / 2 for size in sizes) / sum(size.weight for size in sizes)
    langwatch = parse_mix(options.mix)
    lunary_events = options.events * (1 - langwatch) / (1 - options.lunary_other)
    requests = options.events * langwatch + lunary_events / batch
    lanes = max(1, min(options.connections * 4, int(requests) // _LEAST_LANE, traces, _MOST_LANES))
    return Plan(
        run=run,
        seed=options.seed,
        started=started,
        events=options.events,
        traces=traces,
        lanes=lanes,
        langwatch=langwatch,
        batch_sizes=tuple((size.low, size.high, size.weight) for size in sizes),
        other=options.lunary_other,
        duplicates=options.duplicates,
        undo=options.undo,
        corrections=options.corrections,
    )


class TraceRange(NamedTuple):
    """Trace ids from ``start`` up to, and without, ``end``."""

    start: str
    end: str


_FORMS = ("trace_{run}{lane:04x}", "{run}-{lane:04x}-", "{run}{lane:04x}", "chatcmpl-{run}{lane:04x}")
_ABOVE_HEX = "g"


def langwatch_trace(plan: Plan, lane: int, number: int) -> str:
    """As LangWatch's docs write them, as OpenTelemetry does, and as a UUID that a Lunary run has as well."""
    if number % 4 == 3:
        return run_id(plan, lane, number)
    prefix = _FORMS[2 if number % 4 == 2 else 0].format(run=plan.run, lane=lane)
    return f"{prefix}{number:020x}"


def lunary_run(plan: Plan, lane: int, number: int) -> str:
    """Mostly UUIDs; now and then the id that a model's API gave the completion, its case being part of it."""
    if number % 10 == 9:
        return _FORMS[3].format(run=plan.run, lane=lane) + f"-{number}-Xy"
    return run_id(plan, lane, number)


def run_id(plan: Plan, lane: int, number: int) -> str:
    return f"{plan.run}-{lane:04x}-4abc-8def-{number:012x}"


def trace_ranges(plan: Plan, first: int, last: int) -> list[TraceRange]:
    """The trace ids of the lanes ``first`` to ``last``. The ranges of all lanes together leave no id of the run out."""
    ranges = []
    for form in _FORMS:
        head = form.partition("{lane")[0].format(run=plan.run)
        end = f"{head}{_ABOVE_HEX}" if last == plan.lanes - 1 else f"{head}{last + 1:04x}"
        ranges.append(TraceRange(f"{head}{first:04x}", end))
    return ranges


def lane_of(plan: Plan, trace_id: str) -> int | None:
    """The lane that a trace id belongs to; None if it is none of this run's."""
    _, found, rest = trace_id.partition(plan.run)
    digits = rest.removeprefix("-")[:4]
    try:
        return int(digits, 16) if found and len(digits) == 4 else None
    except ValueError:
        return None
