"""FeedbackEvent: one act of feedback, canonical, and its identity.

The fields stand in the order of the columns of ``feedback_events``, so that a batch of events
becomes columns by one transposition.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from functools import lru_cache
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

from shared.times import CLOCK_TOLERANCE, PLAUSIBLE_FROM, ClientTime


class Source(StrEnum):
    """Which format an event came in."""

    LANGWATCH = "langwatch"
    LUNARY = "lunary"


class TimeStatus(IntEnum):
    """What is known of an event's ``timestamp``; the values are those of the column's Enum8."""

    CLIENT = 0
    NONE = 1
    PAST = 2
    AHEAD = 3
    OUT_OF_RANGE = 4


TIME_OF_CLIENT = int(TimeStatus.CLIENT)


class FeedbackEvent(NamedTuple):
    """One act of feedback. Times are microseconds since 1970, UTC.

    vote: in [-1, 1]; 0 = taken back; None = says nothing about the vote.
    comment: "" = taken back; None = says nothing about the comment.
    raw: the vendor's own JSON of this event, byte for byte, private keys in it blanked.
    replayed: brought in long after its receipt on purpose, by an import or from the dead letters.
    request_id: as a number of 128 bits, which the column takes for the UUID that it is.
    entry_id: where it lay in the stream; for tracing only, never for identity or order.
    """

    project_id: str
    source: str
    trace_id: str
    dedupe_id: int
    key_time: int
    event_type: str
    timestamp: int
    time_status: int
    received_at: int
    version: int
    vote: float | None
    comment: str | None
    metrics: Mapping[str, float]
    details: Mapping[str, str | None]
    user_id: str | None
    thread_id: str | None
    event_id: str | None
    request_id: int
    event_index: int
    entry_id: str
    raw: bytes
    replayed: bool


COLUMNS = FeedbackEvent._fields


class Receipt:
    """What all events of one envelope share: who sent them, when the door took them, where they lay, whether again.

    Built once an envelope, so that an event costs only its own fields.
    """

    __slots__ = (
        "entry_id",
        "project_id",
        "received_at",
        "replayed",
        "request_id",
        "request_number",
        "source",
        "tenant",
        "version",
    )

    def __init__(
        self,
        *,
        project_id: str,
        source: str,
        request_id: bytes,
        received_at: int,
        entry_id: str,
        replayed: bool = False,
    ) -> None:
        self.project_id = project_id
        self.source = source
        self.request_id = request_id
        self.request_number = int.from_bytes(request_id, "big")
        self.received_at = received_at
        self.entry_id = entry_id
        self.replayed = replayed
        self.tenant = _tenant(project_id, source)
        # Of the request's 128 bits the first 44.
        self.version = (received_at << 64) | (self.request_number >> 84 << 20)


@lru_cache(maxsize=1024)
def _tenant(project_id: str, source: str) -> bytes:
    return length_prefixed(project_id.encode()) + length_prefixed(source.encode())


def length_prefixed(field: bytes) -> bytes:
    """Makes a concatenation of fields unambiguous: no field can borrow from its neighbour."""
    return _length(len(field)) + field


_length = Struct(">I").pack


def canonical(
    receipt: Receipt,
    index: int,
    raw: bytes,
    *,
    trace_id: str,
    event_type: str,
    time: ClientTime | None,
    event_id: str | None = None,
    touched: bytes = b"",
    vote: float | None = None,
    comment: str | None = None,
    metrics: Mapping[str, float],
    details: Mapping[str, str | None],
    user_id: str | None = None,
    thread_id: str | None = None,
) -> FeedbackEvent:
    """One event, with its identity (what makes two events the same) and its version (which of them stands).

    Identity, the first that applies:
    a client's own ``event_id``; the client's exact time with the event type (and ``touched``, the names of
    the keys that a Lunary patch touches); else the request and the event's place in it.
    ``key_time`` is a function of the identity, as ClickHouse needs it: the sorting key of a
    ReplacingMergeTree is its definition of a duplicate.
    """
    received_at = receipt.received_at
    tenant, trace = receipt.tenant, trace_id.encode()
    trace_length = _length(len(trace))
    if event_id:
        identity = b"".join((b"id", tenant, trace_length, trace, length_prefixed(event_id.encode())))
        key_time = 0
    elif time is not None:
        kind = event_type.encode()
        exact, key_time, _ = time
        identity = b"".join(
            (b"time", tenant, trace_length, trace, _length(len(kind)), kind, _length(len(exact)), exact, touched)
        )
    else:
        kind = length_prefixed(event_type.encode())
        identity = b"".join((b"request", tenant, trace_length, trace, kind, receipt.request_id, _length(index)))
        key_time = received_at
    if time is not None and PLAUSIBLE_FROM <= time[1] <= received_at and not time[2]:
        timestamp, status = time[1], TIME_OF_CLIENT
    else:
        timestamp, status = _placed(time, received_at)
    # Made as a tuple of the class: calling the class costs twice as much.
    return tuple.__new__(
        FeedbackEvent,
        (
            receipt.project_id,
            receipt.source,
            trace_id,
            int.from_bytes(blake2b(identity, digest_size=16).digest(), "big"),
            key_time,
            event_type,
            timestamp,
            status,
            received_at,
            receipt.version | index,
            vote,
            comment,
            metrics,
            details,
            user_id,
            thread_id,
            event_id,
            receipt.request_number,
            index,
            receipt.entry_id,
            raw,
            receipt.replayed,
        ),
    )


def _placed(time: ClientTime | None, received_at: int) -> tuple[int, int]:
    """The column ``timestamp`` and what is known of it."""
    if time is None:
        return received_at, TimeStatus.NONE
    _, micros, saturated = time
    if saturated:
        return micros, TimeStatus.OUT_OF_RANGE
    if micros < PLAUSIBLE_FROM:
        return micros, TimeStatus.PAST
    if micros > received_at + CLOCK_TOLERANCE:
        return micros, TimeStatus.AHEAD
    return micros, TimeStatus.CLIENT
