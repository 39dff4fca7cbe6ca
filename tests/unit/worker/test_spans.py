from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind
from pydantic import SecretStr

from services.worker.entries import Entry
from services.worker.faults import Fault
from services.worker.prepare import Prepared, Unstorable, prepare
from services.worker.recovery import Membership
from services.worker.spans import NoSpans
from services.worker.tracing import EntrySpans
from shared.settings import ClickHouseSettings
from tests.unit.tracing.spans import Kept, context, happened, told

from .doubles import entry, thumb

STREAM = "plaudit:feedback:{3}"
TRACES = [f"{number:032x}" for number in range(1, 10)]
SENT = "00f067aa0ba902b7"
NO_DELIVERIES: dict[bytes, int] = {}


def traced(number: int, *events: bytes, **more: Any) -> Entry:
    """An entry of the n-th trace."""
    return entry(
        *(events or (thumb(f"t{number}"),)),
        stream=STREAM,
        number=number,
        traceparent=f"00-{TRACES[number]}-{SENT}-01".encode(),
        **more,
    )


class Worker:
    def __init__(self) -> None:
        self.kept = Kept()
        member = Membership([STREAM], "plaudit-workers", "host-1-abc")
        clickhouse = ClickHouseSettings(clickhouse_url=SecretStr("http://user:hidden@one:8123,two:8123/plaudit"))
        self.spans = EntrySpans(self.kept.tracer, member, clickhouse)

    def deliver(self, *entries: Entry, done: frozenset[bytes] = frozenset(), failures: int = 0) -> Prepared:
        """A batch as delivery takes it, which first fails so often."""
        prepared = prepare(entries, done)
        with self.spans.batch(entries) as batch:
            batch.inserting(prepared, done)
            for tries in range(1, failures + 1):
                batch.failed(Fault.SERVER, tries)
            batch.inserted()
            batch.set_aside(prepared.unstorable, set())
        return prepared

    def of(self, number: int, kind: SpanKind) -> list[ReadableSpan]:
        trace = int(TRACES[number], 16)
        return [span for span in self.kept.spans if context(span).trace_id == trace and span.kind is kind]

    def process(self, number: int) -> ReadableSpan:
        (span,) = self.of(number, SpanKind.CONSUMER)
        return span

    def insert(self, number: int) -> ReadableSpan:
        (span,) = self.of(number, SpanKind.CLIENT)
        return span


def test_each_traced_entry_of_a_batch_reaches_from_its_append_to_the_insert_in_its_own_trace() -> None:
    worker = Worker()
    entries = [traced(1), entry(thumb("untraced"), stream=STREAM, number=7), traced(2)]
    worker.spans.taken(entries, NO_DELIVERIES)
    worker.deliver(*entries)
    assert len(worker.kept.spans) == 4
    for number in (1, 2):
        process, insert = worker.process(number), worker.insert(number)
        assert process.parent is not None
        assert f"{process.parent.span_id:016x}" == SENT
        assert process.parent.is_remote
        assert insert.parent == context(process)
        assert process.status.is_unset
        assert process.start_time is not None
        assert insert.start_time is not None
        assert insert.end_time is not None
        assert process.end_time is not None
        assert process.start_time <= insert.start_time <= insert.end_time <= process.end_time


def test_spans_say_by_the_conventions_what_was_done() -> None:
    worker = Worker()
    one = traced(1, thumb("a"), thumb("b"))
    worker.spans.taken([one], NO_DELIVERIES)
    worker.deliver(one)
    assert worker.process(1).name == "process plaudit:feedback"
    assert dict(told(worker.process(1))) == {
        "messaging.system": "redis",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": "plaudit-workers",
        "messaging.client.id": "host-1-abc",
        "messaging.destination.name": "plaudit:feedback",
        "messaging.destination.partition.id": "3",
        "messaging.message.id": "1-0",
        "messaging.message.envelope.size": one.size,
        "plaudit.project_id": "p",
        "plaudit.source": "langwatch",
        "plaudit.request_id": f"{1:032x}",
        "plaudit.part": 0,
        "plaudit.events": 2,
    }
    assert worker.insert(1).name == "INSERT feedback_events"
    assert dict(told(worker.insert(1))) == {
        "db.system.name": "clickhouse",
        "db.namespace": "plaudit",
        "db.collection.name": "feedback_events",
        "db.operation.name": "INSERT",
        "db.operation.batch.size": 2,
        "plaudit.batch.entries": 1,
    }


def test_attempts_of_the_insert_that_failed_are_on_it() -> None:
    worker = Worker()
    worker.spans.taken([traced(1)], NO_DELIVERIES)
    worker.deliver(traced(1), failures=2)
    assert happened(worker.insert(1)) == [
        ("insert_failed", {"fault": "server", "tries": 1}),
        ("insert_failed", {"fault": "server", "tries": 2}),
    ]
    assert worker.insert(1).status.is_unset


def test_what_was_done_before_is_not_inserted_again_and_says_so() -> None:
    worker = Worker()
    again, fresh = traced(1), traced(2)
    worker.spans.taken([again, fresh], {again.entry_id: 2})
    assert again.envelope is not None
    worker.deliver(again, fresh, done=frozenset({again.envelope.work_id}))
    assert worker.of(1, SpanKind.CLIENT) == []
    assert happened(worker.process(1)) == [("redelivered", {})]
    assert told(worker.process(1))["plaudit.deliveries"] == 2
    assert len(worker.of(2, SpanKind.CLIENT)) == 1


def test_a_replay_of_a_dead_letter_goes_on_in_the_trace_it_had() -> None:
    worker = Worker()
    replayed = traced(1, replayed=True)
    worker.spans.taken([replayed], NO_DELIVERIES)
    assert replayed.envelope is not None
    worker.deliver(replayed, done=frozenset({replayed.envelope.work_id}))
    assert told(worker.process(1))["plaudit.replayed"] is True
    assert len(worker.of(1, SpanKind.CLIENT)) == 1


def test_a_dead_letter_is_a_failure_without_its_reason_and_the_rest_is_inserted() -> None:
    worker = Worker()
    bad, mixed, good = traced(1, b'{"said":"secret"}'), traced(2, thumb("a"), b'{"said":"secret"}'), traced(3)
    worker.spans.taken([bad, mixed, good], NO_DELIVERIES)
    prepared = worker.deliver(bad, mixed, good)
    assert len(prepared.unstorable) == 2
    assert worker.of(1, SpanKind.CLIENT) == []
    for number in (1, 2):
        assert happened(worker.process(number)) == [("dead_lettered", {"plaudit.events": 1})]
        assert told(worker.process(number))["error.type"] == "dead_letter"
        assert "secret" not in worker.process(number).to_json()
    assert worker.insert(2).status.is_unset
    assert worker.process(3).status.is_unset


def test_dead_letters_without_a_place_leave_the_entry_pending() -> None:
    worker = Worker()
    bad = traced(1, b"{}")
    worker.spans.taken([bad], NO_DELIVERIES)
    assert bad.envelope is not None
    with worker.spans.batch([bad]) as batch:
        batch.set_aside([Unstorable(bad, bad.envelope.events[0], "no")], {bad.entry_id})
    assert happened(worker.process(1)) == [("left_pending", {"plaudit.events": 1})]


def test_a_batch_that_breaks_ends_its_spans_as_failed_by_the_errors_name() -> None:
    worker = Worker()
    one = traced(1)
    worker.spans.taken([one], NO_DELIVERIES)

    def deliver() -> None:
        with worker.spans.batch([one]) as batch:
            batch.inserting(prepare([one], set()), set())
            raise ValueError("secret")

    with pytest.raises(ValueError, match="secret"):
        deliver()
    for span in (worker.process(1), worker.insert(1)):
        assert told(span)["error.type"] == "ValueError"
        assert "secret" not in span.to_json()


def test_entries_of_two_streams_with_one_id_are_told_apart() -> None:
    worker = Worker()
    here = traced(1)
    there = traced(2)._replace(stream="plaudit:feedback:{4}", entry_id=here.entry_id)
    worker.spans.taken([here, there], NO_DELIVERIES)
    worker.deliver(here)
    assert worker.of(2, SpanKind.CONSUMER) == []
    worker.deliver(there)
    assert told(worker.process(2))["messaging.destination.partition.id"] == "4"


@pytest.mark.parametrize("carried", [b"", b"garbage", b"\xff" * 55, b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01"])
def test_what_carries_no_trace_is_delivered_without_one(carried: bytes) -> None:
    worker = Worker()
    one = entry(thumb(), stream=STREAM, traceparent=carried)
    worker.spans.taken([one], NO_DELIVERIES)
    assert len(worker.deliver(one).rows) == 1
    assert worker.kept.spans == []


def test_an_entry_that_is_no_envelope_has_no_trace() -> None:
    worker = Worker()
    broken = Entry(STREAM, b"1-0", 3, None, "not ours", b"abc")
    worker.spans.taken([broken], NO_DELIVERIES)
    worker.deliver(broken)
    assert worker.kept.spans == []


def test_a_worker_that_is_not_traced_takes_the_same_calls() -> None:
    spans, one = NoSpans(), traced(1)
    spans.taken([one], NO_DELIVERIES)
    with spans.batch([one]) as batch:
        batch.inserting(prepare([one], set()), set())
        batch.failed(Fault.SERVER, 1)
        batch.inserted()
        batch.set_aside([], set())
