"""What SQL answers equals a small model over the set of requests: for any order, repetition and split into batches.

Hypothesis draws the histories, the real engine judges. The model (services/loadgen/oracle.py and reading.py) shares no
code with the formats, the identity or the tables.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from services.loadgen.oracle import Delivery, ExpectedEvent, Outcome, Span, expect
from services.worker.entries import read_entry
from services.worker.prepare import prepare
from services.worker.sink import EventSink
from shared.envelope import FIELD, Envelope, RawEvent, encode
from shared.events import Receipt
from shared.formats import NORMALIZERS

pytestmark = pytest.mark.integration

NOW = 1_795_316_670_000_000
"""Microseconds. Client times and receipts are drawn around it, so that clocks run ahead and behind."""

# Few values, so that they meet: the same trace, the same instant, the same id.
traces = st.sampled_from(["t1", "t1", "t2"])
millis = st.sampled_from([NOW / 1000 + offset for offset in (-5000, -1000, 0, 0.5, 1, 2000, 60_000, 1e9)] + [0, 9e16])
comments = st.sampled_from([None, "", "good", "bad \U0001f44e", "\u0000"])
votes = st.sampled_from([1, -1, 0, 0.5])
receipts = st.integers(-4, 6).map(lambda step: NOW + step * 500_000)


def _without(none: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in none.items() if value is not None}


langwatch_events = st.builds(
    lambda trace, kind, vote, comment, time, event_id: _without(
        {
            "trace_id": trace,
            "event_type": kind,
            "metrics": {"vote": vote} if kind == "thumbs_up_down" else {"stars": vote},
            "event_details": {"feedback": comment},
            "timestamp": time,
            "event_id": event_id,
        }
    ),
    traces,
    st.sampled_from(["thumbs_up_down", "thumbs_up_down", "rating"]),
    votes,
    comments,
    st.none() | millis,
    st.sampled_from([None, None, "", "e1"]),
)

lunary_patches = st.sampled_from(
    [
        {"thumb": "up"},
        {"thumb": "down"},
        {"thumb": None},
        {"comment": "nice"},
        {"comment": None},
        {"thumb": "up", "comment": "x"},
        {"comment": "x", "thumb": "down"},
        {"my_rating": 4},
        {"thumb": "sideways"},
    ]
)
lunary_events = st.builds(
    lambda trace, patch, time, kind: _without(
        {"event": kind, "runId": trace, "feedback": patch, "timestamp": time, "type": "x"}
    ),
    traces,
    lunary_patches,
    st.none() | millis.filter(lambda time: time < 9e15) | st.just("2026-11-22T03:04:30.000500+00:00"),
    st.sampled_from(["feedback", "feedback", "chat"]),
)


@dataclass(frozen=True)
class Request:
    source: str
    events: tuple[bytes, ...]
    received_at: int
    request_id: bytes


def _request(source: str, events: Iterable[dict[str, Any]], received_at: int, request_id: bytes) -> Request:
    return Request(source, tuple(json.dumps(event).encode() for event in events), received_at, request_id)


request_ids = st.binary(min_size=16, max_size=16)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Request], list[list[Request]]]:
    """A set of requests, and its deliveries: each at least once, in any order, cut into batches.

    Requests draw their events from a small pool, so that most are retransmissions, and from what differs from the pool
    only in what it says, so that many are corrections.
    """
    langwatch = st.sampled_from(draw(st.lists(langwatch_events, min_size=1, max_size=3)))
    lunary = st.sampled_from(draw(st.lists(lunary_events, min_size=1, max_size=3)))
    corrected = st.builds(
        lambda event, other: {**event, **{key: other[key] for key in ("metrics", "event_details") if key in other}},
        langwatch,
        langwatch_events.filter(lambda event: event["event_type"] == "thumbs_up_down"),
    )
    requests = st.one_of(
        st.builds(_request, st.just("langwatch"), st.tuples(langwatch), receipts, request_ids),
        st.builds(_request, st.just("langwatch"), st.tuples(corrected), receipts, request_ids),
        st.builds(_request, st.just("lunary"), st.lists(lunary, min_size=1, max_size=3), receipts, request_ids),
    )
    made = draw(st.lists(requests, min_size=2, max_size=8, unique_by=lambda request: request.request_id[:5]))
    again = draw(st.lists(st.sampled_from(made), max_size=6))
    order = draw(st.permutations(made + again))
    cuts = sorted(draw(st.sets(st.integers(1, len(order) - 1), max_size=4)))
    return made, [order[a:b] for a, b in itertools.pairwise([0, *cuts, len(order)])]


projects = (f"p{number}" for number in itertools.count())


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
@given(history=histories(), merged=st.sampled_from([False, False, False, True]))
def test_sql_equals_the_model_for_any_order_repetition_and_batching(
    history: tuple[list[Request], list[list[Request]]], merged: bool, sink: EventSink, client: Client
) -> None:
    made, batches = history
    project = next(projects)
    for batch in batches:
        entries = [read_entry("s", b"0-0", {FIELD: encode(_envelope(project, request))}) for request in batch]
        prepared = prepare(entries, set())
        assert not prepared.unstorable
        if prepared.rows:
            sink.insert(prepared.rows)
    if merged:
        for table in ("feedback_events", "feedback_by_trace"):
            client.command(f"OPTIMIZE TABLE {table} FINAL")
    _compare(project, made, client)


def _envelope(project: str, request: Request) -> Envelope:
    events = [RawEvent(index, raw) for index, raw in enumerate(request.events)]
    return Envelope(project, request.source, request.request_id, request.received_at, events)


def _compare(project: str, made: list[Request], client: Client) -> None:
    deliveries = [
        Delivery(r.source, list(enumerate(r.events)), Outcome.ACKED, Span(r.received_at, r.received_at), r.request_id)
        for r in made
    ]
    expected = expect(deliveries)
    stored = {
        (row["source"], row["trace_id"], row["dedupe_id"]): row
        for row in client.query(
            "SELECT source, trace_id, dedupe_id, vote, comment, metrics, details, toUnixTimestamp64Micro(timestamp) AS ts, raw "
            "FROM feedback_events FINAL WHERE project_id = {p:String}",
            {"p": project},
        ).named_results()
    }
    current = {
        (row["source"], row["trace_id"]): row
        for row in client.query(
            "SELECT source, trace_id, vote, comment, events FROM feedback_current WHERE project_id = {p:String}",
            {"p": project},
        ).named_results()
    }
    assert len(stored) == sum(len(trace.events) for trace in expected.values())
    assert set(current) == {trace for trace, expectation in expected.items() if expectation.events}
    identity = {id(event): _dedupe_id(project, event) for trace in expected.values() for event in trace.events.values()}
    for (source, trace_id), expectation in expected.items():
        for event in expectation.events.values():
            (standing,) = event.candidates
            row = stored[source, trace_id, identity[id(event)]]
            reading = standing.reading
            assert (row["vote"], row["comment"]) == (reading.vote, reading.comment)
            assert row["metrics"] == dict(reading.metrics)
            assert row["raw"] == reading.raw.decode()
            assert row["ts"] == (reading.moment.micros if reading.moment else standing.delivery.received.lo)
        if expectation.events:
            now = current[source, trace_id]
            assert now["events"] == len(expectation.events)
            for name in ("vote", "comment"):
                possible = {value.value for value in expectation.current(name, tie_break=lambda e: identity[id(e)])}
                assert possible == {now[name]}, (source, trace_id, name)


def _dedupe_id(project: str, event: ExpectedEvent) -> int:
    """Only to find the row and to break ties: that it means identity is what counting the rows proves."""
    version = event.candidates[0]
    delivery = version.delivery
    receipt = Receipt(
        project_id=project,
        source=delivery.source,
        request_id=delivery.request_id,
        received_at=delivery.received.lo,
        entry_id="",
    )
    made = NORMALIZERS[delivery.source](receipt, version.place, version.reading.raw)
    assert made is not None
    return made.dedupe_id


@pytest.fixture
def sink(database: Any) -> Iterator[EventSink]:
    sink = EventSink(database, clock=lambda: 0.0)
    yield sink
    sink.close()


@pytest.fixture
def client(database: Any) -> Iterator[Client]:
    from shared.storage import connect

    client = connect(database)
    yield client
    client.close()
