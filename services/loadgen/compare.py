"""Holds what is stored against what must be: pure, so that it can itself be tested with faults planted in rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from services.loadgen.columns import differences, faults
from services.loadgen.history import ExpectedEvent
from services.loadgen.oracle import CurrentValue, Field, TraceExpectation
from services.loadgen.reading import read
from services.loadgen.stored import StoredCurrent, StoredEvent

CLOCK_SLACK = 50_000
"""Microseconds by which the clocks of generator and door may differ without a false alarm."""

_MOST_SAMPLES = 20

FAULTS = ("lost", "twice", "wrong", "current_wrong", "unexpected")
"""Counts that must be zero."""


@dataclass(slots=True)
class Verdict:
    """Counts of distinct events, or of traces for ``current_wrong``.

    accepted: acknowledged. stored: found, those whose answer was lost included. ambiguous_*: events known only from
    requests whose answer was lost. current_open: traces of which, for that reason or because client and server
    clocks are too close to call, more than one current value would be right.
    samples: some of the faults, in words; they name traces and fields, never what people wrote.
    """

    accepted: int = 0
    stored: int = 0
    lost: int = 0
    twice: int = 0
    wrong: int = 0
    current_wrong: int = 0
    unexpected: int = 0
    ambiguous_present: int = 0
    ambiguous_absent: int = 0
    traces: int = 0
    current_open: int = 0
    samples: list[str] = field(default_factory=list)

    @property
    def faultless(self) -> bool:
        return not any(getattr(self, fault) for fault in FAULTS)

    def fault(self, kind: str, source: str, trace_id: str, about: str, count: int = 1) -> None:
        setattr(self, kind, getattr(self, kind) + count)
        if len(self.samples) < _MOST_SAMPLES:
            self.samples.append(f"{kind}: {source} {trace_id}: {about}")

    def add(self, other: Verdict) -> None:
        for name in self.__slots__:
            if name != "samples":
                setattr(self, name, getattr(self, name) + getattr(other, name))
        self.samples += other.samples[: _MOST_SAMPLES - len(self.samples)]


def compare(
    expected: Mapping[tuple[str, str], TraceExpectation],
    events: Iterable[StoredEvent],
    current: Iterable[StoredCurrent],
    *,
    clock_slack: int = CLOCK_SLACK,
) -> Verdict:
    """``events`` and ``current`` must be all rows of the traces in ``expected``, and of no other run."""
    verdict = Verdict(traces=len(expected))
    rows: dict[tuple[str, str], list[StoredEvent]] = defaultdict(list)
    for row in events:
        rows[row.source, row.trace_id].append(row)
    for trace, strangers in rows.items():
        if trace not in expected:
            verdict.fault("unexpected", *trace, "nothing was ever sent for this trace", len(strangers))
    standing: dict[tuple[str, str], list[StoredCurrent]] = defaultdict(list)
    for answer in current:
        standing[answer.source, answer.trace_id].append(answer)
    for trace in standing:
        if trace not in expected and trace not in rows:
            verdict.fault("unexpected", *trace, "in feedback_current, but nothing was ever sent for it")
    for trace, expectation in expected.items():
        twice_before = verdict.twice
        found = _match(expectation, rows.get(trace, []), verdict)
        doubled = verdict.twice - twice_before
        _compare_current(expectation, found, doubled, standing.get(trace, []), verdict, clock_slack)
    return verdict


_Found = dict[ExpectedEvent, StoredEvent]


def _match(expectation: TraceExpectation, rows: list[StoredEvent], verdict: Verdict) -> _Found:
    """Finds each event's row, and says what is wrong with it."""
    where = (expectation.source, expectation.trace_id)
    search = _Search(expectation)
    found: _Found = {}
    strangers = []
    for row in sorted(rows, key=lambda row: row.version):
        event, is_known = search.find(row)
        if event is None:
            if is_known:
                verdict.fault("twice", *where, f"another row of an event ({row.event_type})")
            else:
                strangers.append(row)
            continue
        found[event] = row
        if wrong := faults(event, row):
            verdict.fault("wrong", *where, f"{row.event_type}: " + ", ".join(wrong))
    missing = 0
    for event in expectation.events.values():
        verdict.accepted += event.required
        verdict.stored += event in found
        missing += event.required and event not in found
        if not event.required:
            verdict.ambiguous_present += event in found
            verdict.ambiguous_absent += event not in found
    # A row that no request explains, beside an event that is missing: one event with another's face.
    altered = min(len(strangers), missing)
    if altered:
        verdict.stored += altered
        verdict.fault("wrong", *where, "raw or identity is not what was sent", altered)
    if missing > altered:
        verdict.fault("lost", *where, f"{missing - altered} of {len(expectation.events)} events", missing - altered)
    for row in strangers[altered:]:
        verdict.fault("unexpected", *where, f"{row.event_type}: refused, or never sent")
    return found


class _Search:
    """Finds the event that a row is of, by the row's raw JSON. Each event is found once."""

    def __init__(self, expectation: TraceExpectation) -> None:
        self._source = expectation.source
        self._by_identity = dict(expectation.events)
        self._unidentified: dict[tuple[bytes, int], list[ExpectedEvent]] = defaultdict(list)
        self._identities: dict[bytes, tuple[object, ...]] = {}
        for key, event in expectation.events.items():
            version = event.candidates[0]
            if version.reading.identity is None:
                self._unidentified[version.reading.raw, version.place].append(event)
            else:
                self._identities |= {v.reading.raw: key for v in event.candidates}
        self._known = set(self._by_identity) | set(self._unidentified)

    def find(self, row: StoredEvent) -> tuple[ExpectedEvent | None, bool]:
        """The event, and whether the row's identity is one that was sent at all."""
        identity = self._identities.get(row.raw) or self._identity_in(row.raw)
        if identity is not None:
            return self._by_identity.pop(identity, None), identity in self._known
        place = (row.raw, row.event_index)
        same = self._unidentified.get(place, [])
        if not same:
            return None, place in self._known
        event = min(same, key=lambda event: _distance(event, row.received_at))
        same.remove(event)
        return event, True

    def _identity_in(self, raw: bytes) -> tuple[object, ...] | None:
        try:
            reading = read(self._source, raw)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        return reading.identity if reading else None


def _distance(event: ExpectedEvent, received_at: int) -> tuple[int, bool]:
    """How far outside of the event's span a receipt lies; of equals, the one that must be there."""
    return max(event.first.lo - received_at, received_at - event.first.hi, 0), not event.required


def _compare_current(
    expectation: TraceExpectation,
    found: _Found,
    doubled: int,
    answers: list[StoredCurrent],
    verdict: Verdict,
    clock_slack: int,
) -> None:
    where = (expectation.source, expectation.trace_id)
    if not answers:
        if found:
            verdict.fault("current_wrong", *where, "has events, but no row in feedback_current")
        return
    answer = answers[0]
    if len(answers) > 1:
        verdict.fault("current_wrong", *where, f"{len(answers)} rows in feedback_current")
        return
    if answer.events > len(expectation.events):
        counted_twice = answer.events - len(expectation.events) - doubled
        if counted_twice > 0:
            about = f"feedback_current.events counts {answer.events} for {len(expectation.events)} events"
            verdict.fault("twice", *where, about, counted_twice)
        return
    if answer.events != len(found):
        verdict.fault("current_wrong", *where, f"feedback_current.events is {answer.events}, not {len(found)}")
        return
    resolved = _resolve(expectation, found)
    dedupe_ids = {event.key: row.dedupe_id for event, row in found.items()}
    wrong, is_open = [], False
    names: tuple[Field, Field] = ("vote", "comment")
    for name in names:
        possible = list(resolved.current(name, tie_break=lambda event: dedupe_ids[event.key], clock_slack=clock_slack))
        is_open |= len({value.value for value in possible}) > 1
        if not any(_fits(value, name, answer) for value in possible):
            wrong.append(name)
    verdict.current_open += is_open
    if wrong:
        verdict.fault("current_wrong", *where, ", ".join(wrong))


def _fits(possible: CurrentValue, name: Field, answer: StoredCurrent) -> bool:
    if getattr(answer, name) != possible.value:
        return False
    return name != "vote" or possible.given is None or possible.given.lo <= answer.vote_time <= possible.given.hi


def _resolve(expectation: TraceExpectation, found: _Found) -> TraceExpectation:
    """The same trace, where what was ambiguous is now known from the rows: what is there, and which version stands."""
    resolved = TraceExpectation(expectation.source, expectation.trace_id)
    for key, event in expectation.events.items():
        if event in found:
            standing = tuple(version for version in event.candidates if not differences(version, found[event]))
            resolved.events[key] = replace(event, required=True, candidates=standing or event.candidates)
    return resolved
