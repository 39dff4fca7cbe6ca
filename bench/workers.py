"""Measurements of the worker: one core for it, the other for Redis and ClickHouse."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

from bench.backlog import BacklogWriter
from bench.bodies import entries, is_ordinary, langwatch_bodies
from bench.drains import Drain, bytes_on_disk
from bench.figures import Figure, Outcome, interleaved, medians, paired_ratio
from bench.pieces import stage
from bench.ready_blocks import insert_ready_blocks

_SINGLES = 160_000
_HUNDREDS = 400_000
_MILLION = 1_000_000
_HURRIED = 1_500


@contextmanager
def _drain(events: int, batch: int = 1, *, distinct: int | None = None) -> Iterator[Drain]:
    with stage() as made:
        yield _written(Drain(made, BacklogWriter(made), "", 0, 0), events, batch, distinct=distinct)


def _written(drain: Drain, events: int, batch: int = 1, *, distinct: int | None = None) -> Drain:
    template = f"template:{events}:{batch}"
    now = time.time_ns() // 1000
    distinct = distinct or events
    payloads = (
        payload
        for part in range(events // distinct)
        for payload in entries(distinct, batch=batch, received_at=now + part)
    )
    written = drain.backlog.write(template, payloads)
    return Drain(drain.stage, drain.backlog, template, written, written * batch)


def _told(results: list[dict[str, Any]]) -> str:
    return (
        f"{medians(results, 'events_per_second'):,.0f} events/s, "
        f"{medians(results, 'cpu_us_per_event'):.1f} µs of its core an event"
    )


def single_entries() -> Outcome:
    """Entries of one event, everything on, against the bare loop; ready-made blocks beside it."""
    outcome = Outcome()
    with _drain(_SINGLES) as drain:
        results = interleaved(4, {"bare": drain.bare, "ours": drain.ours}, outcome.runs)
        disk = bytes_on_disk(drain.stage)
        log = drain.backlog.bytes_an_entry(drain.template)
        blocks = insert_ready_blocks(drain)
        outcome.runs += [{"side": "ready-made blocks", **blocks}, {"side": "bytes on disk a row, by table", **disk}]
    ours, bare = results["ours"], results["bare"]
    ours_told, bare_told = _told(ours), _told(bare)
    outcome.figures = [
        Figure(
            what="worker, entries of one event, one core: events/s against the bare loop",
            value=paired_ratio(ours, bare, "events_per_second"),
            unit="x",
            must=0.8,
            aim=1.2,
            ours=ours_told,
            ceiling=bare_told,
        ),
        Figure(
            what="the same: its processor time an event against the bare loop's",
            value=paired_ratio(ours, bare, "cpu_us_per_event"),
            unit="x",
            must=1.5,
            aim=1.2,
            better="lower",
            ours=ours_told,
            ceiling=bare_told,
        ),
        Figure(
            what="ClickHouse on one core: rows/s that the worker inserts, against ready-made blocks",
            value=medians(ours, "events_per_second") / blocks["rows_per_second"],
            unit="x",
            ours=f"{medians(ours, 'events_per_second'):,.0f} rows/s",
            ceiling=f"{blocks['rows_per_second']:,.0f} rows/s in blocks of 20,000",
        ),
        Figure(
            what="ClickHouse: bytes on disk an event, all tables together, merged",
            value=sum(disk.values()),
            unit="bytes",
            ours=", ".join(f"{table} {size:.0f}" for table, size in sorted(disk.items())),
        ),
        Figure(what="Redis: bytes of memory an entry of one event", value=log, unit="bytes"),
    ]
    return outcome


def hundreds() -> Outcome:
    """Entries of 100 events."""
    outcome = Outcome()
    with _drain(_HUNDREDS, 100) as drain:
        results = interleaved(3, {"bare": drain.bare, "ours": drain.ours}, outcome.runs)
        blocks = insert_ready_blocks(drain)
    ours = results["ours"]
    cpu = medians(ours, "cpu_us_per_event")
    outcome.figures = [
        Figure(
            what="worker, entries of 100 events, one core: events/s",
            value=medians(ours, "events_per_second"),
            unit="/s",
            must=80_000,
            aim=150_000,
            ours=f"{cpu:.1f} µs of its core an event: {1e6 / cpu:,.0f} events/s of a core to itself",
            ceiling=f"bare loop {_told(results['bare'])}; ready-made blocks {blocks['rows_per_second']:,.0f} rows/s",
        )
    ]
    return outcome


def hurried_team() -> Outcome:
    """FastStream's one message a handler with a row an insert."""
    outcome = Outcome()
    with _drain(_SINGLES // 2) as many:
        # FastStream's own field, so that its parser takes the body as it is.
        bodies = filter(is_ordinary, langwatch_bodies(2 * _HURRIED))
        written = many.backlog.write("hurried", islice(bodies, _HURRIED), b"__data__")
        few = Drain(many.stage, many.backlog, "hurried", written, written)
        results = interleaved(2, {"hurried": few.one_by_one, "ours": many.ours}, outcome.runs)
    outcome.figures = [
        Figure(
            what="end to end against the hurried team's way",
            value=paired_ratio(results["ours"], results["hurried"], "events_per_second"),
            unit="x",
            must=20,
            aim=50,
            ours=_told(results["ours"]),
            ceiling=_told(results["hurried"]),
        )
    ]
    return outcome


def million() -> Outcome:
    """A million events by 1, 2 and 4 workers: processor time, and the memory of one."""
    outcome = Outcome()
    with _drain(_MILLION, distinct=_MILLION // 5) as drain:
        sides = {f"{workers} workers": partial(drain.ours, workers) for workers in (1, 2, 4)}
        results = interleaved(1, sides, outcome.runs)
    spent = {name: runs[0]["cpu_seconds"] for name, runs in results.items()}
    alone = results["1 workers"][0]
    outcome.figures = [
        Figure(
            what="a worker's peak memory draining a backlog of 1,000,000 events",
            value=alone["peak_mib"] * 2**20 / 1e6,
            unit="MB",
            must=400,
            aim=250,
            better="lower",
            ours=f"{alone['peak_mib']:.0f} MiB; {alone['events_per_second']:,.0f} events/s",
        ),
        Figure(
            what="processor time for a million events with 1, 2 and 4 workers: the worst against the best",
            value=max(spent.values()) / min(spent.values()),
            unit="x",
            must=1.15,
            aim=1.05,
            better="lower",
            ours=", ".join(f"{name}: {seconds:.1f} s" for name, seconds in spent.items()),
        ),
    ]
    return outcome
