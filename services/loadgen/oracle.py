"""What must be true after a history of requests: a small model of identity, version, order and current feedback.

Records in (``Delivery``), expectations out (``TraceExpectation``). It knows when a request was received either
exactly or only as a span of time, and whether it was acknowledged; so an expectation says what must be there,
what may be, and which values of the current feedback are possible. With exact times and nothing ambiguous, that
is one value.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, NamedTuple

from services.loadgen.reading import Reading, read

FOREVER = 1 << 62
"""The end of a span that is open: a request whose answer was lost may still be on its way."""


class Outcome(IntEnum):
    """What the sender knows of one request."""

    UNSENT = 0
    ACKED = 1
    AMBIGUOUS = 2
    """The answer was lost, or was 5xx: the events may be there, at most once."""
    REFUSED = 3
    """The answer was 4xx: the events must not be there."""


class Span(NamedTuple):
    """When a request was received: between these two, in microseconds since 1970, both included."""

    lo: int
    hi: int


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """One request as it was sent. ``events``: place in the request and raw JSON of each.

    request_id: decides between versions of one microsecond, where the caller knows it.
    """

    source: str
    events: Sequence[tuple[int, bytes]]
    outcome: Outcome
    received: Span
    request_id: bytes = b""


class Version(NamedTuple):
    """One delivery of one event."""

    delivery: Delivery
    index: int
    reading: Reading

    @property
    def certain(self) -> bool:
        return self.delivery.outcome is Outcome.ACKED


@dataclass(frozen=True, slots=True, eq=False)
class ExpectedEvent:
    """One identity. ``candidates``: the versions that may stand; one unless something was ambiguous.

    first: when it was first heard of. heard_in: the deliveries that may have been the first.
    """

    key: tuple[object, ...]
    required: bool
    candidates: tuple[Version, ...]
    first: Span
    heard_in: frozenset[Delivery]


TieBreak = Callable[[ExpectedEvent], int]
"""dedupe_id of an event: the last word on the order of events of one instant."""

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
        order = _Order(tie_break, clock_slack)
        events = list(self.events.values())
        voices = {
            id(event): [_Voice(event, version) for version in event.candidates if _says(version, name)]
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
        return other.index > version.index
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


class _Voice(NamedTuple):
    """An event, supposing that this version of it stands."""

    event: ExpectedEvent
    version: Version

    @property
    def told(self) -> int | None:
        moment = self.version.reading.moment
        return moment.micros if moment else None


@dataclass(frozen=True, slots=True)
class _Order:
    """Order in time: (client time, but no later than first heard of; first heard of; dedupe_id)."""

    tie_break: TieBreak | None
    slack: int

    def earliest(self, voice: _Voice) -> int:
        heard = voice.event.first.lo - self.slack
        return heard if voice.told is None else min(voice.told, heard)

    def latest(self, voice: _Voice) -> int:
        heard = voice.event.first.hi + self.slack
        return heard if voice.told is None else min(voice.told, heard)

    def may_precede(self, a: _Voice, b: _Voice) -> bool:
        return any(
            self._may_precede(a, b, a_told, b_told) for a_told in self._readings(a) for b_told in self._readings(b)
        )

    def _readings(self, voice: _Voice) -> Iterator[int | None]:
        """The client's time where that may decide, None where the receipt may."""
        told, heard = voice.told, voice.event.first
        if told is not None and told <= heard.hi + self.slack:
            yield told
        if told is None or told > heard.lo - self.slack:
            yield None

    def _may_precede(self, a: _Voice, b: _Voice, a_told: int | None, b_told: int | None) -> bool:
        heard = _compare_receipts(a.event, b.event)
        if a_told is not None and b_told is not None:
            return a_told < b_told or (a_told == b_told and self._may_be_heard_before(a, b, heard))
        if a_told is None and b_told is None:
            return self._may_be_heard_before(a, b, heard)
        if a_told is not None:
            # a was told no later than it was heard, so whatever was heard after it comes after it.
            limit = b.event.first.hi + self.slack
            return heard == -1 or a_told < limit or (a_told == limit and self._may_be_heard_before(a, b, heard))
        assert b_told is not None
        limit = a.event.first.lo - self.slack
        if heard == 0:
            return limit <= b_told and self._may_be_heard_before(a, b, heard)
        return heard != 1 and (limit < b_told or (limit == b_told and self._may_be_heard_before(a, b, heard)))

    def _may_be_heard_before(self, a: _Voice, b: _Voice, heard: int | None) -> bool:
        if heard == 0 and self.tie_break:
            return self.tie_break(a.event) < self.tie_break(b.event)
        return heard != 1


def _compare_receipts(a: ExpectedEvent, b: ExpectedEvent) -> int | None:
    """-1, 0 or 1 as a was first heard of before, with, or after b; None where that is not known."""
    if a.heard_in == b.heard_in:
        return 0
    if a.first.hi < b.first.lo:
        return -1
    if b.first.hi < a.first.lo:
        return 1
    if a.first == b.first and a.first.lo == a.first.hi:
        return 0
    return None
