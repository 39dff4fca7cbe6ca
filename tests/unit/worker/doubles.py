"""Small stand-ins and makers for the tests of the worker."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from services.worker.entries import Entry, read_entry
from services.worker.prepare import prepare
from services.worker.sink import Backoff
from shared.envelope import FIELD, Envelope, RawEvent, encode
from shared.events import FeedbackEvent

RECEIVED = 1_795_316_670_000_000
"""Microseconds: when the requests of these tests came, unless they say otherwise."""


class ManualClock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Naps:
    """An ``asyncio.sleep`` that takes no time and remembers how long it was asked for."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


def full_backoff() -> Backoff:
    """Without jitter: each delay is the longest that it may be."""

    class Longest(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    return Backoff(base=1.0, cap=8.0, random=Longest())


def request_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def thumb(trace: str = "t", vote: float = 1, **more: Any) -> bytes:
    """A LangWatch event."""
    event = {"trace_id": trace, "event_type": "thumbs_up_down", "metrics": {"vote": vote}, **more}
    return json.dumps(event).encode()


def envelope(*events: bytes, number: int = 1, received_at: int = RECEIVED, **more: Any) -> Envelope:
    fields = {"project_id": "p", "source": "langwatch", **more}
    raw = [RawEvent(index, event) for index, event in enumerate(events)]
    return Envelope(request_id=request_id(number), received_at=received_at, events=raw, **fields)


def entry(*events: bytes, stream: str = "s", entry_id: str | None = None, number: int = 1, **more: Any) -> Entry:
    """A stream entry as the reader hands it over; its id is made of ``number`` where none is given."""
    payload = encode(envelope(*events, number=number, **more))
    return read_entry(stream, (entry_id or f"{number}-0").encode(), {FIELD: payload})


def rows(count: int) -> Sequence[FeedbackEvent]:
    """As many events of different identity; the trace of the n-th is ``tn``."""
    return prepare([entry(thumb(f"t{n}"), number=n + 1) for n in range(count)], set()).rows
