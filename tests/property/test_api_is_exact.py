"""What the query API answers equals the answer over the set of distinct events: whatever the order, the batches, the
repetitions, the corrections, and wherever between them the derived table was brought up to date.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from services.analytics.breakdown import Dimension, breakdown, metrics
from services.analytics.filters import Filters, VoteFilter
from services.analytics.listing import newest
from services.analytics.main import connect_async
from services.analytics.period import Interval, Period, iso
from services.analytics.refresh import Refresher
from services.analytics.story import story
from services.analytics.summary import summary
from services.analytics.warehouse import Warehouse
from services.loadgen.oracle import Delivery, ExpectedEvent, Outcome, Span, expect
from services.worker.entries import read_entry
from services.worker.prepare import prepare
from services.worker.sink import EventSink
from shared.envelope import FIELD, Envelope, RawEvent, encode
from shared.events import Receipt
from shared.formats import NORMALIZERS
from shared.settings import ClickHouseSettings
from shared.storage import connect
from tests.property.test_answers_are_exact import NOW, Request, histories

pytestmark = pytest.mark.integration

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UTC_ZONE = ZoneInfo("UTC")
AROUND_NOW = Period(
    EPOCH + timedelta(microseconds=NOW) - timedelta(minutes=2),
    EPOCH + timedelta(microseconds=NOW) + timedelta(minutes=2),
)
AT_THE_BEGINNING = Period(EPOCH, EPOCH + timedelta(hours=1))
PERIODS = (AROUND_NOW, AT_THE_BEGINNING)
"""The clients of these histories tell times around now, and 0."""


@dataclass(frozen=True)
class Fact:
    """A distinct event as the model has it. Times in microseconds."""

    source: str
    trace_id: str
    id: int
    time: int
    event_type: str
    vote: float | None
    comment: str | None
    metrics: dict[str, float]
    feedback: str | None
    decides_vote: bool
    comments: bool
    holds: bool
    leads: bool
    trace_vote: float | None
    trace_comment: str | None

    @property
    def verdict(self) -> str | None:
        if not self.decides_vote or self.vote is None:
            return None
        return "up" if self.vote > 0 else "down" if self.vote < 0 else "undone"


class World(NamedTuple):
    sink: EventSink
    client: Client
    warehouse: Warehouse
    runner: asyncio.Runner


_REFRESHES = ("no", "yes", "saved", "anew")

projects = (f"q{number}" for number in itertools.count())


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
@given(history=histories(), refreshes=st.lists(st.sampled_from(_REFRESHES), min_size=6, max_size=6))
def test_answers_equal_those_over_the_distinct_set(
    history: tuple[list[Request], list[list[Request]]], refreshes: list[str], world: World
) -> None:
    made, batches = history
    project = next(projects)
    refresher = Refresher(world.client, settle_after=1.0)
    for batch, refresh in zip(batches, itertools.cycle(refreshes), strict=False):
        entries = [read_entry("s", b"0-0", {FIELD: encode(_envelope(project, request))}) for request in batch]
        rows = prepare(entries, set()).rows
        if rows:
            world.sink.insert(rows)
        if refresh == "anew":
            # As after a kill: what was known is forgotten, and how far it had come was not saved.
            refresher = Refresher(world.client, settle_after=1.0)
        if refresh != "no":
            refresher.refresh()
        if refresh == "saved":
            # Another process goes on from what was saved.
            refresher.save()
            refresher = Refresher(world.client, settle_after=1.0)
    refresher.refresh()
    world.runner.run(_compare_all(world.warehouse, project, _facts(project, made)))


async def _compare_all(warehouse: Warehouse, project: str, facts: list[Fact]) -> None:
    for period in PERIODS:
        inside = [fact for fact in facts if period.start <= EPOCH + timedelta(microseconds=fact.time) < period.end]
        await _compare_summary(warehouse, project, period, inside)
        await _compare_lists(warehouse, project, period, inside)
        await _compare_breakdowns(warehouse, project, period, inside)
    assert {fact.time // 10**6 for fact in facts} <= {
        second for period in PERIODS for second in range(int(period.start.timestamp()), int(period.end.timestamp()))
    }
    for source, trace_id in {(fact.source, fact.trace_id) for fact in facts}:
        told = await story(warehouse, project, trace_id, source)
        own = sorted((f for f in facts if (f.source, f.trace_id) == (source, trace_id)), key=lambda f: f.time)
        assert [event["time"] for event in told["events"]] == [iso(fact.time) for fact in own]
        assert (told["current"]["vote"], told["current"]["comment"]) == (own[0].trace_vote, own[0].trace_comment)


async def _compare_summary(warehouse: Warehouse, project: str, period: Period, facts: list[Fact]) -> None:
    told = await summary(warehouse, project, Filters(period), Interval.MINUTE, UTC_ZONE)
    assert _counts(told["totals"]) == _count(facts)
    buckets = defaultdict(list)
    for fact in facts:
        buckets[fact.time // 60_000_000].append(fact)
    found = {bucket["time"]: _counts(bucket) for bucket in told["series"] if any(_counts(bucket).values())}
    assert found == {iso(minute * 60_000_000): _count(own) for minute, own in buckets.items()}
    for source in ("langwatch", "lunary"):
        part = await summary(warehouse, project, Filters(period, source=source), Interval.MINUTE, UTC_ZONE)
        assert _counts(part["totals"]) == _count([fact for fact in facts if fact.source == source])


async def _compare_lists(warehouse: Warehouse, project: str, period: Period, facts: list[Fact]) -> None:
    order = sorted(facts, key=lambda fact: (-fact.time, -fact.id))
    listed = await _all_pages(warehouse, project, Filters(period))
    assert [event["id"] for event in listed] == [f"{fact.id:032x}" for fact in order]
    for event, fact in zip(listed, order, strict=True):
        assert (event["vote"], event["comment"], event["trace_id"]) == (fact.vote, fact.comment, fact.trace_id)
        assert event["metrics"] == fact.metrics
        says_something = fact.vote is not None or fact.comment is not None
        assert event["superseded"] == (says_something and not fact.holds)
    bad = Filters(period, vote=VoteFilter.DOWN, has_comment=True, current=True)
    wanted = [f for f in order if f.leads and (f.trace_vote or 0) < 0 and f.trace_comment]
    assert [event["id"] for event in await _all_pages(warehouse, project, bad)] == [f"{f.id:032x}" for f in wanted]
    searched = await _all_pages(warehouse, project, Filters(period, search="BAD"))
    assert len(searched) == sum("bad" in (fact.comment or "") for fact in facts)


async def _all_pages(warehouse: Warehouse, project: str, filters: Filters) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = await newest(warehouse, project, filters, 3, cursor)
        events += page.events
        cursor = page.next
        if cursor is None:
            return events


async def _compare_breakdowns(warehouse: Warehouse, project: str, period: Period, facts: list[Fact]) -> None:
    for by, name in (("source", "source"), ("event_type", "event_type"), ("detail:feedback", "feedback")):
        told = await breakdown(warehouse, project, Filters(period), Dimension.read(by), 100)
        groups = defaultdict(list)
        for fact in facts:
            groups[getattr(fact, name)].append(fact)
        assert {group["value"]: _counts(group) for group in told["groups"]} == {
            value: _count(own) for value, own in groups.items()
        }
    told = await metrics(warehouse, project, Filters(period))
    counted = Counter((name, fact.event_type) for fact in facts for name in fact.metrics)
    assert {(row["name"], row["event_type"]): row["count"] for row in told["metrics"]} == counted


def _counts(told: dict[str, Any]) -> dict[str, int]:
    return {name: told[name] for name in ("traces", "up", "down", "undone", "comments", "events")}


def _count(facts: list[Fact]) -> dict[str, int]:
    verdicts = Counter(fact.verdict for fact in facts)
    return {
        "traces": sum(fact.leads for fact in facts),
        "up": verdicts["up"],
        "down": verdicts["down"],
        "undone": verdicts["undone"],
        "comments": sum(fact.comments for fact in facts),
        "events": len(facts),
    }


def _facts(project: str, made: list[Request]) -> list[Fact]:
    """The distinct events by the independent model, and by its order what each of them decides."""
    deliveries = [
        Delivery(r.source, list(enumerate(r.events)), Outcome.ACKED, Span(r.received_at, r.received_at), r.request_id)
        for r in made
    ]
    facts: list[Fact] = []
    for (source, trace_id), expectation in expect(deliveries).items():
        events = sorted(expectation.events.values(), key=lambda event: _order(project, event))
        voters = [event for event in events if event.candidates[0].reading.vote is not None]
        commenters = [event for event in events if event.candidates[0].reading.comment is not None]
        deciders = [*voters[-1:], *commenters[-1:]]
        leader = max(deciders, key=lambda event: _order(project, event), default=None)
        vote = voters[-1].candidates[0].reading.vote if voters else None
        comment = commenters[-1].candidates[0].reading.comment if commenters else None
        for event in events:
            reading = event.candidates[0].reading
            time, _, dedupe_id = _order(project, event)
            feedback = reading.details.get("feedback")
            facts.append(
                Fact(
                    source,
                    trace_id,
                    dedupe_id,
                    time,
                    reading.event_type,
                    reading.vote,
                    reading.comment,
                    dict(reading.metrics),
                    feedback if isinstance(feedback, str) else None,
                    decides_vote=event in voters[-1:],
                    comments=event in commenters[-1:] and bool(reading.comment),
                    holds=event in deciders,
                    leads=event is leader,
                    trace_vote=vote,
                    trace_comment=comment,
                )
            )
    return facts


def _order(project: str, event: ExpectedEvent) -> tuple[int, int, int]:
    (standing,) = event.candidates
    first = event.first.lo
    moment = standing.reading.moment
    receipt = Receipt(
        project_id=project,
        source=standing.delivery.source,
        request_id=standing.delivery.request_id,
        received_at=standing.delivery.received.lo,
        entry_id="",
    )
    # Only to name the event: that the name means identity is what counting the rows proves.
    made = NORMALIZERS[standing.delivery.source](receipt, standing.place, standing.reading.raw)
    assert made is not None
    return (min(moment.micros, first) if moment else first, first, made.dedupe_id)


def _envelope(project: str, request: Request) -> Envelope:
    events = [RawEvent(index, raw) for index, raw in enumerate(request.events)]
    return Envelope(project, request.source, request.request_id, request.received_at, events)


@pytest.fixture
def world(database: ClickHouseSettings) -> Iterator[World]:
    sink = EventSink(database, clock=lambda: 0.0)
    client = connect(database)
    warehouse = Warehouse(lambda: connect_async(database, 60.0), concurrency=4, timeout=60.0, memory=1 << 30)
    with asyncio.Runner() as runner:
        yield World(sink, client, warehouse, runner)
        runner.run(warehouse.close())
    client.close()
    sink.close()
