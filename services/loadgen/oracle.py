"""What must be true after a history of requests: a small model of identity, version, order and current feedback.

Records in (``Delivery``), expectations out (``TraceExpectation``). It knows when a request was received either
exactly or only as a span of time, and whether it was acknowledged; so an expectation says what must be there,
what may be, and which values of the current feedback are possible. With exact times and nothing ambiguous, that
is one value.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from services.loadgen.history import Delivery, ExpectedEvent, Outcome, Span, Version
from services.loadgen.order import Order, TieBreak, Voice
from services.loadgen.reading import read

__all__ = [
    "CurrentValue",
    "Delivery",
    "ExpectedEvent",
    "Field",
    "Outcome",
    "Span",
    "TraceExpectation",
    "Version",
    "expect",
]

Field = Literal["vote", "comment"]


class CurrentValue(NamedTuple):
    """A value that may hold now, and when it was given (None where no event says anything)."""

    value: float | str | None
    given: Span | None


@dataclass(slots=True)
class TraceExpectation:
    """All events of one trace: those that must or may be there, by key, and the keys that must not be there."""

    source: str
    trace_id: str
    events: dict[tuple[object, ...], ExpectedEvent] = field(default_factory=dict)
    refused: set[tuple[object, ...]] = field(default_factory=set)

    def current(
        self, name: Field, *, tie_break: TieBreak | None = None, clock_slack: int = 0
    ) -> Iterator[CurrentValue]:
        """The possible current values of vote or comment: of each, the last in order that is not null.

        clock_slack: microseconds that sender and door may disagree by, where client times meet receipts.
        """
        order = Order(tie_break, clock_slack)
        events = list(self.events.values())
        voices = {
            id(event): [Voice(event, version) for version in event.candidates if _says(version, name)]
            for event in events
        }
        outspoken = [event for event in events if event.required and len(voices[id(event)]) == len(event.candidates)]
        # Whatever ends before the latest outspoken event begins cannot be the last.
        floor = max((min(order.earliest(voice) for voice in voices[id(event)]) for event in outspoken), default=0)
        for event in events:
            for voice in voices[id(event)]:
                if order.latest(voice) >= floor and all(
                    other is event or any(order.may_precede(rival, voice) for rival in voices[id(other)])
                    for other in outspoken
                ):
                    value = voice.version.reading.vote if name == "vote" else voice.version.reading.comment
                    yield CurrentValue(value, Span(order.earliest(voice), order.latest(voice)))
        if not outspoken:
            yield CurrentValue(None, None)


def expect(deliveries: Iterable[Delivery]) -> dict[tuple[str, str], TraceExpectation]:
    """What must be there after these deliveries, by (source, trace)."""
    versions: dict[tuple[str, str], dict[tuple[object, ...], list[Version]]] = defaultdict(lambda: defaultdict(list))
    for delivery in deliveries:
        if delivery.outcome is Outcome.UNSENT:
            continue
        for index, raw in delivery.events:
            if reading := read(delivery.source, raw):
                key = reading.identity or ("request", delivery, reading.event_type, index)
                versions[delivery.source, reading.trace_id][key].append(Version(delivery, index, reading))
    return {trace: _expect_trace(*trace, found) for trace, found in versions.items()}


def _expect_trace(source: str, trace_id: str, versions: dict[tuple[object, ...], list[Version]]) -> TraceExpectation:
    expectation = TraceExpectation(source, trace_id)
    for key, told in versions.items():
        possible = [version for version in told if version.delivery.outcome is not Outcome.REFUSED]
        if possible:
            expectation.events[key] = _expect_event(key, possible)
        else:
            expectation.refused.add(key)
    return expectation


def _expect_event(key: tuple[object, ...], versions: list[Version]) -> ExpectedEvent:
    certain = [version for version in versions if version.certain]
    candidates = tuple(version for version in versions if not any(_supersedes(other, version) for other in certain))
    if certain:
        latest_first = min(version.delivery.received.hi for version in certain)
    else:
        latest_first = max(version.delivery.received.hi for version in versions)
    heard_in = frozenset(v.delivery for v in versions if v.delivery.received.lo <= latest_first)
    first = Span(min(delivery.received.lo for delivery in heard_in), latest_first)
    return ExpectedEvent(key, bool(certain), candidates, first, heard_in)


def _supersedes(other: Version, version: Version) -> bool:
    """Whether ``other`` certainly is the greater version: received later, or further down in the same request."""
    if other.delivery is version.delivery:
        return other.place > version.place
    ours, theirs = version.delivery.received, other.delivery.received
    if theirs.lo > ours.hi:
        return True
    same_instant = theirs.lo == theirs.hi == ours.lo == ours.hi
    return same_instant and _id_bits(other) > _id_bits(version)


def _id_bits(version: Version) -> int:
    """The part of a request id that versions hold: its first 44 bits."""
    return int.from_bytes(version.delivery.request_id[:6], "big") >> 4


def _says(version: Version, name: Field) -> bool:
    reading = version.reading
    return (reading.vote if name == "vote" else reading.comment) is not None
