"""What the door gives each request before its first append: an id, a time, and envelopes around its events."""

from __future__ import annotations

import random as random_module
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from shared.envelope import Envelope, RawEvent

_ID_BYTES = 16
_IDS_AT_ONCE = 256


class Mint(NamedTuple):
    """A request's own: 128 random bits, and microseconds since 1970."""

    request_id: bytes
    received_at: int


class Minter:
    """``clock``: nanoseconds since 1970. ``randbytes``: so many random bytes; asked for many ids at once."""

    def __init__(self, clock: Callable[[], int], randbytes: Callable[[int], bytes]) -> None:
        self._clock = clock
        self._randbytes = randbytes
        self._pool = b""
        self._position = 0

    def __call__(self) -> Mint:
        if self._position >= len(self._pool):
            self._pool = self._randbytes(_ID_BYTES * _IDS_AT_ONCE)
            self._position = 0
        start = self._position
        self._position = start + _ID_BYTES
        # Made as a tuple of the class: calling the class costs twice as much.
        return tuple.__new__(Mint, (self._pool[start : start + _ID_BYTES], self._clock() // 1000))


def system_randbytes(count: int) -> bytes:
    """From the operating system: ids must not be guessed from other ids."""
    return random_module.SystemRandom().randbytes(count)


def envelopes(mint: Mint, source: str, events: Sequence[tuple[str, RawEvent]], part_bytes: int) -> list[Envelope]:
    """The envelopes of one request: by project, and within one in parts of about ``part_bytes``.

    ``part`` counts over all of them, so that each is its own unit of work.
    """
    if len(events) == 1:
        ((project_id, event),) = events
        return [Envelope(project_id, source, mint.request_id, mint.received_at, [event])]
    by_project: dict[str, list[RawEvent]] = {}
    for project_id, event in events:
        by_project.setdefault(project_id, []).append(event)
    made: list[Envelope] = []
    for project_id, all_events in by_project.items():
        for part in _parts(all_events, part_bytes):
            made.append(Envelope(project_id, source, mint.request_id, mint.received_at, part, len(made)))
    return made


def _parts(events: list[RawEvent], part_bytes: int) -> Iterable[list[RawEvent]]:
    part: list[RawEvent] = []
    size = 0
    for event in events:
        if part and size + len(event.raw) > part_bytes:
            yield part
            part, size = [], 0
        part.append(event)
        size += len(event.raw)
    if part:
        yield part
