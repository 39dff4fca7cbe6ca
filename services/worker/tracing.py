"""Spans of the worker, as children of the spans that appended its entries. Imported only where tracing is on.

One insert serves the entries of many traces, and a span has one parent: so each traced entry has a span of the insert
of its own, and its trace reaches to the table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import NamedTuple

from opentelemetry.trace import Span, SpanKind, Tracer, set_span_in_context

from shared.envelope import Envelope
from shared.settings import ClickHouseSettings
from shared.storage import EVENTS_TABLE, database_name
from shared.tracing.context import read
from shared.tracing.tracing import failed

from .entries import Entry
from .faults import Fault
from .prepare import Prepared, Unstorable
from .recovery import Membership
from .spans import BatchSpans

Place = tuple[str, bytes]
"""Where an entry lies: its stream and its id."""


def _place(entry: Entry) -> Place:
    return entry.stream, entry.entry_id


def _destination(stream: str) -> tuple[str, str]:
    """The name of the log, and which of its partitions a stream is."""
    name, _, partition = stream.rpartition(":")
    return name, partition.strip("{}")


class Traced(NamedTuple):
    """An entry with the span of its processing."""

    entry: Entry
    envelope: Envelope
    span: Span


class EntrySpans:
    """See WorkerSpans."""

    def __init__(self, tracer: Tracer, member: Membership, clickhouse: ClickHouseSettings) -> None:
        self._tracer = tracer
        self._common = {
            "messaging.system": "redis",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.consumer.group.name": member.group,
            "messaging.client.id": member.consumer,
        }
        self._insert = {
            "db.system.name": "clickhouse",
            "db.namespace": database_name(clickhouse),
            "db.collection.name": EVENTS_TABLE,
            "db.operation.name": "INSERT",
        }
        self._open: dict[Place, Span] = {}

    def taken(self, entries: Iterable[Entry], deliveries: Mapping[bytes, int]) -> None:
        for entry in entries:
            envelope = entry.envelope
            if envelope is not None and envelope.traceparent:
                self._take(entry, envelope, deliveries.get(entry.entry_id))

    def _take(self, entry: Entry, envelope: Envelope, deliveries: int | None) -> None:
        context = read(envelope.traceparent)
        if context is None:
            return
        name, partition = _destination(entry.stream)
        attributes: dict[str, str | int | bool] = {
            **self._common,
            "messaging.destination.name": name,
            "messaging.destination.partition.id": partition,
            "messaging.message.id": entry.entry_id.decode(),
            "messaging.message.envelope.size": entry.size,
            "plaudit.project_id": envelope.project_id,
            "plaudit.source": envelope.source,
            "plaudit.request_id": envelope.request_id.hex(),
            "plaudit.part": envelope.part,
            "plaudit.events": len(envelope.events),
        }
        if deliveries is not None:
            attributes["plaudit.deliveries"] = deliveries
        if envelope.replayed:
            attributes["plaudit.replayed"] = True
        span = self._tracer.start_span(f"process {name}", context, SpanKind.CONSUMER, attributes)
        self._open[_place(entry)] = span

    @contextmanager
    def batch(self, entries: Sequence[Entry]) -> Iterator[BatchSpans]:
        traced = [] if not self._open else list(self._close(entries))
        spans = _TracedBatch(self._tracer, self._insert, traced, len(entries))
        try:
            yield spans
        except BaseException as error:
            # By its name alone: what it says may quote an event.
            spans.end(type(error).__qualname__)
            raise
        spans.end()

    def _close(self, entries: Sequence[Entry]) -> Iterator[Traced]:
        for entry in entries:
            envelope = entry.envelope
            if envelope is not None and envelope.traceparent:
                span = self._open.pop(_place(entry), None)
                if span is not None:
                    yield Traced(entry, envelope, span)


class _TracedBatch:
    """See BatchSpans."""

    def __init__(self, tracer: Tracer, insert: Mapping[str, str], traced: Sequence[Traced], entries: int) -> None:
        self._tracer = tracer
        self._insert = insert
        self._traced = traced
        self._entries = entries
        self._inserts: list[Span] = []

    def inserting(self, prepared: Prepared, done: Set[bytes]) -> None:
        if not self._traced:
            return
        attributes: dict[str, str | int] = {
            **self._insert,
            "db.operation.batch.size": len(prepared.rows),
            "plaudit.batch.entries": self._entries,
        }
        unstorable = Counter(_place(item.entry) for item in prepared.unstorable)
        for entry, envelope, span in self._traced:
            if envelope.work_id in done and not envelope.replayed:
                span.add_event("redelivered")
            elif prepared.rows and unstorable[_place(entry)] < len(envelope.events):
                name = f"INSERT {EVENTS_TABLE}"
                self._inserts.append(
                    self._tracer.start_span(name, set_span_in_context(span), SpanKind.CLIENT, attributes)
                )

    def failed(self, fault: Fault, tries: int) -> None:
        for span in self._inserts:
            span.add_event("insert_failed", {"fault": fault.value, "tries": tries})

    def inserted(self) -> None:
        for span in self._inserts:
            span.end()
        self._inserts = []

    def set_aside(self, unstorable: Sequence[Unstorable], unplaced: Set[bytes]) -> None:
        if not self._traced or not unstorable:
            return
        events = Counter(_place(item.entry) for item in unstorable)
        for entry, _, span in self._traced:
            if count := events[_place(entry)]:
                # Why, is for whoever may see the letters: it may quote what people wrote.
                kept = entry.entry_id not in unplaced
                span.add_event("dead_lettered" if kept else "left_pending", {"plaudit.events": count})
                failed(span, "dead_letter")

    def end(self, error: str | None = None) -> None:
        for span in (*self._inserts, *(item.span for item in self._traced)):
            if error is not None:
                failed(span, error)
            span.end()
