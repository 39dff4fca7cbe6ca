"""What must be in the tables after a run, by what was answered: read by the load generator's own rules.

``services.loadgen.reading`` shares no code with the door and the worker, so their mistakes are not repeated here.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from services.loadgen.reading import LANGWATCH, LUNARY, Reading, read
from tests.fuzz.recipes import Request
from tests.fuzz.wire import Answer

Told = tuple[object, ...]
"""Everything that a row must say of an event, but for its time."""


class Row(NamedTuple):
    """A row of ``feedback_events FINAL``."""

    source: str
    trace_id: str
    event_type: str
    vote: float | None
    comment: str | None
    metrics: dict[str, float]
    user_id: str | None
    thread_id: str | None
    event_id: str | None
    raw: bytes


class Expectation:
    """Built answer by answer; then held against all rows."""

    def __init__(self) -> None:
        self.accepted = 0
        self._identified: dict[tuple[object, ...], set[Told]] = defaultdict(set)
        self._maybe: set[tuple[object, ...]] = set()
        self._unidentified: Counter[Told] = Counter()
        self._uncertain: Counter[Told] = Counter()

    def note(self, request: Request, answer: Answer) -> None:
        """Takes in one answer. Raises AssertionError for a 200 that says nothing sensible."""
        if answer.status != 200:
            return
        if not request.lunary:
            assert json.loads(answer.body) == {"message": "Event tracked"}
            self._expect(LANGWATCH, _text(request.payload), is_certain=True)
            return
        results = json.loads(answer.body)
        if request.path == "/v1/runs/ingest":
            results = results["results"]
        events = list(_events(request.body))
        assert len(results) == len(events), (request, answer)
        outcomes: dict[str, list[bool]] = defaultdict(list)
        for result in results:
            outcomes[_id(result, "id")].append(result["success"])
        for event in events:
            succeeded = outcomes[_id(event, "runId")]
            assert succeeded, (request, answer)
            if any(succeeded):
                self._expect(LUNARY, json.dumps(event), is_certain=all(succeeded))

    def _expect(self, source: str, text: str, *, is_certain: bool) -> None:
        try:
            reading = _read(source, text.encode())
        except (TypeError, ValueError, AttributeError, OverflowError):
            # Of two events with one id only one was taken: this cannot be it.
            assert not is_certain, text
            return
        if reading is None:
            return
        self.accepted += is_certain
        told = _told(reading)
        if reading.identity is not None:
            identity = (source, reading.trace_id, *reading.identity)
            self._identified[identity].add(told)
            if not is_certain:
                self._maybe.add(identity)
            else:
                self._maybe.discard(identity)
        elif is_certain and not _has_odd_time(source, text):
            self._unidentified[told] += 1
        else:
            self._uncertain[told] += 1

    @property
    def least(self) -> int:
        """Rows that must be there."""
        return len(self._identified) - len(self._maybe) + self._unidentified.total()

    def faults(self, rows: Iterable[Row]) -> list[str]:
        """What is lost, doubled, altered, or there although it was refused."""
        faults = []
        seen: set[tuple[object, ...]] = set()
        unidentified: Counter[Told] = Counter()
        for row in rows:
            reading = _read(row.source, _text(row.raw).encode())
            if reading is None or _told_by(row) != _told(reading):
                faults.append(f"a row does not say what its raw says: {row}")
            elif reading.identity is None:
                unidentified[_told(reading)] += 1
            else:
                identity = (row.source, reading.trace_id, *reading.identity)
                if identity in seen:
                    faults.append(f"twice: {row}")
                seen.add(identity)
                if _told(reading) not in self._identified.get(identity, ()):
                    faults.append(f"never accepted: {row}")
        faults += [f"lost: {identity}" for identity in self._identified.keys() - seen - self._maybe]
        for told in unidentified.keys() | self._unidentified.keys():
            least, most = self._unidentified[told], self._unidentified[told] + self._uncertain[told]
            if not least <= unidentified[told] <= most:
                faults.append(f"{unidentified[told]} times, not {least} to {most}: {told}")
        return faults


def _events(body: bytes) -> Iterator[Any]:
    """The events of a Lunary body that was taken, unwrapped as its server does."""
    events = json.loads(_text(body), parse_int=_integer)["events"]
    for event in events if isinstance(events, list) else [events]:
        unwrapped = event
        while isinstance(unwrapped, list) and len(unwrapped) == 1:
            unwrapped = unwrapped[0]
        yield unwrapped


def _integer(digits: str) -> float:
    # Python refuses to read very long ones, and JavaScript has none.
    return int(digits) if len(digits) < 300 else float(digits)


def _id(told: Any, name: str) -> str:
    if not isinstance(told, dict) or name not in told:
        return "none"
    return json.dumps(_plain(told[name]))


def _plain(value: Any) -> Any:
    """A JSON value with what every way of writing it has in common."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            # More digits than a double has room for: infinite, as in JavaScript, and so null.
            return None
        return number if math.isfinite(number) else None
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return {_plain(key): _plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace").removeprefix("\ufeff")


def _read(source: str, raw: bytes) -> Reading | None:
    return read(source, json.dumps(json.loads(raw, parse_int=_integer)).encode())


def _has_odd_time(source: str, text: str) -> bool:
    """Whether it tells a time that the simple reader makes nothing of, but perhaps the product does."""
    told = json.loads(text, parse_int=_integer)
    return source == LUNARY and isinstance(told.get("timestamp"), str)


def _told(reading: Reading) -> Told:
    return (
        reading.source,
        reading.trace_id,
        reading.event_type,
        reading.vote,
        reading.comment,
        tuple(sorted(reading.metrics.items())),
        reading.user_id,
        reading.thread_id,
        reading.event_id,
    )


def _told_by(row: Row) -> Told:
    return (*row[:5], tuple(sorted(row.metrics.items())), *row[6:9])
