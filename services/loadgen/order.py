"""The order in time of the events of one trace, as far as it can be known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from services.loadgen.history import ExpectedEvent, Version

TieBreak = Callable[[ExpectedEvent], int]
"""dedupe_id of an event: the last word on the order of events of one instant."""


class Voice(NamedTuple):
    """An event, supposing that this version of it stands."""

    event: ExpectedEvent
    version: Version

    @property
    def told(self) -> int | None:
        moment = self.version.reading.moment
        return moment.micros if moment else None


@dataclass(frozen=True, slots=True)
class Order:
    """Order in time: (client time, but no later than first heard of; first heard of; dedupe_id)."""

    tie_break: TieBreak | None
    slack: int

    def earliest(self, voice: Voice) -> int:
        heard = voice.event.first.lo - self.slack
        return heard if voice.told is None else min(voice.told, heard)

    def latest(self, voice: Voice) -> int:
        heard = voice.event.first.hi + self.slack
        return heard if voice.told is None else min(voice.told, heard)

    def may_precede(self, a: Voice, b: Voice) -> bool:
        return any(
            self._may_precede(a, b, a_told, b_told) for a_told in self._readings(a) for b_told in self._readings(b)
        )

    def _readings(self, voice: Voice) -> Iterator[int | None]:
        """The client's time where that may decide, None where the receipt may."""
        told, heard = voice.told, voice.event.first
        if told is not None and told <= heard.hi + self.slack:
            yield told
        if told is None or told > heard.lo - self.slack:
            yield None

    def _may_precede(self, a: Voice, b: Voice, a_told: int | None, b_told: int | None) -> bool:
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

    def _may_be_heard_before(self, a: Voice, b: Voice, heard: int | None) -> bool:
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
