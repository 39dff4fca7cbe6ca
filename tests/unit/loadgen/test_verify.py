from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from services.loadgen.history import Outcome, Span
from services.loadgen.options import LoadOptions, OptionsError
from services.loadgen.outcomes import Result
from services.loadgen.plan import Plan, TraceRange, make_plan
from services.loadgen.stored import StoredCurrent, StoredEvent
from services.loadgen.verify import Verifier


def small_plan() -> Plan:
    return make_plan(LoadOptions(events=20), run="0a1b2c3d", started=1_795_000_000_000_000)


class AllAcknowledged:
    """Every request was acknowledged, one second after the other."""

    def __init__(self, checksum: int | None = None) -> None:
        self._checksum = checksum

    def result(self, lane: int, place: int, copy: int) -> Result:
        return Result(Outcome.ACKED, Span(place * 1_000_000, place * 1_000_000 + 1))

    def checksum(self, lane: int, place: int) -> int | None:
        return self._checksum


class EmptyStore:
    """A store in which nothing becomes visible."""

    def __init__(self) -> None:
        self.looks = 0

    def events(self, ranges: Sequence[TraceRange]) -> Iterator[StoredEvent]:
        self.looks += 1
        return iter(())

    def current(self, ranges: Sequence[TraceRange]) -> Iterator[StoredCurrent]:
        return iter(())


class Time:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def verifier(store: EmptyStore, time: Time, outcomes: AllAcknowledged, timeout: float = 5.0) -> Verifier:
    return Verifier(small_plan(), outcomes, store, timeout, lambda _: None, lambda: time.now, time.sleep)


def test_what_is_not_visible_is_waited_for_until_the_timeout_and_then_lost() -> None:
    store, time = EmptyStore(), Time()
    verdict = verifier(store, time, AllAcknowledged()).run()
    assert verdict.lost == verdict.accepted > 0
    assert time.now == pytest.approx(5.0, abs=0.5)
    assert store.looks == 11


def test_even_late_lanes_are_looked_at_more_than_once() -> None:
    store = EmptyStore()
    verifier(store, Time(), AllAcknowledged(), timeout=0.0).run()
    assert store.looks == 3


def test_a_ledger_of_other_requests_is_refused() -> None:
    with pytest.raises(OptionsError, match="another release"):
        verifier(EmptyStore(), Time(), AllAcknowledged(checksum=1)).run()
