"""What became of every request of a run."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from services.loadgen.history import FOREVER, Outcome, Span

COPIES = 2
"""A request is sent at most twice at once."""


class Result(NamedTuple):
    """What became of one copy of a request, and when the door must have received it."""

    outcome: Outcome
    received: Span


NEVER_SENT = Result(Outcome.UNSENT, Span(0, 0))


class OutcomeLog(Protocol):
    """Outcomes by lane, place in the lane, and copy."""

    def result(self, lane: int, place: int, copy: int) -> Result: ...

    def checksum(self, lane: int, place: int) -> int | None:
        """CRC-32 of the body that was sent; None where that was not kept."""


class Outcomes:
    """Outcomes of the lanes of one process, packed: seventeen bytes a copy."""

    __slots__ = ("_answered", "_codes", "_first", "_sent", "_slots")

    def __init__(self, lanes: Sequence[int], first: Sequence[int]) -> None:
        self._slots = {lane: slot for slot, lane in enumerate(lanes)}
        self._first = list(first)
        size = self._first[-1] * COPIES
        self._codes = bytearray(size)
        self._sent = array("Q", bytes(8 * size))
        self._answered = array("Q", bytes(8 * size))

    def record(self, number: int, copy: int, outcome: Outcome, sent: int, answered: int) -> None:
        """``number`` counts the requests of all lanes of the process."""
        at = number * COPIES + copy
        self._codes[at] = outcome
        self._sent[at] = sent
        self._answered[at] = answered

    def holds(self, lane: int) -> bool:
        return lane in self._slots

    def result(self, lane: int, place: int, copy: int) -> Result:
        at = (self._first[self._slots[lane]] + place) * COPIES + copy
        return Result(Outcome(self._codes[at]), Span(self._sent[at], self._answered[at]))

    def checksum(self, lane: int, place: int) -> int | None:  # noqa: ARG002
        return None


class JoinedOutcomes:
    """Outcomes of several processes as one."""

    def __init__(self, parts: Sequence[Outcomes]) -> None:
        self._parts = parts

    def result(self, lane: int, place: int, copy: int) -> Result:
        part = next((part for part in self._parts if part.holds(lane)), None)
        return part.result(lane, place, copy) if part else NEVER_SENT

    def checksum(self, lane: int, place: int) -> int | None:  # noqa: ARG002
        return None


def judge(status: int) -> Outcome:
    """2xx is a promise, 4xx a refusal. After anything else nobody knows.

    A 503, too, may follow an append whose reply was lost.
    """
    if 200 <= status < 300:
        return Outcome.ACKED
    return Outcome.REFUSED if 400 <= status < 500 else Outcome.AMBIGUOUS


def lost_answer(sent: int) -> Result:
    """The request may still be on its way."""
    return Result(Outcome.AMBIGUOUS, Span(sent, FOREVER))
