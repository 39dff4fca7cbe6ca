"""A history of requests as its sender knows it, and the events in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from services.loadgen.reading import Reading

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
    place: int
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
