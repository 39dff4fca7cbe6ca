"""What the worker holds of the log: entries read and not yet settled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from shared.envelope import FIELD, Envelope, decode
from shared.errors import EnvelopeError


class Entry(NamedTuple):
    """One stream entry as read. ``size`` is in bytes.

    ``envelope`` is None for what no release of Plaudit wrote: then ``problem`` says why, and ``payload`` keeps what
    was there.
    """

    stream: str
    entry_id: bytes
    size: int
    envelope: Envelope | None
    problem: str = ""
    payload: bytes = b""

    @property
    def rows(self) -> int:
        """Events in it: what it adds to a batch."""
        return len(self.envelope.events) if self.envelope else 1


def read_entry(stream: str, entry_id: bytes, fields: Mapping[bytes, bytes]) -> Entry:
    """Never raises: a bad entry must not void the read that brought it."""
    payload = fields.get(FIELD)
    try:
        envelope = decode(payload)
        # Evaluated here, since a part that is no 32-bit number must not surface in the middle of a batch.
        _ = envelope.work_id
        return Entry(stream, entry_id, len(payload or b""), envelope)
    except (EnvelopeError, OverflowError) as error:
        kept = payload if payload is not None else msgspec.msgpack.encode(dict(fields))
        return Entry(stream, entry_id, len(kept), None, str(error), kept)


def read_flat(stream: str, entry_id: bytes, fields: Sequence[bytes]) -> Entry:
    """``read_entry`` for fields as they lie in a reply: name, value, name, value. Never raises."""
    if len(fields) == 2 and fields[0] == FIELD:
        payload = fields[1]
        try:
            envelope = decode(payload)
            if envelope.part:
                _ = envelope.work_id
        except (EnvelopeError, OverflowError) as error:
            return Entry(stream, entry_id, len(payload), None, str(error), payload)
        # Made as a tuple of the class: calling the class costs twice as much.
        return tuple.__new__(Entry, (stream, entry_id, len(payload), envelope, "", b""))
    return read_entry(stream, entry_id, dict(zip(fields[::2], fields[1::2], strict=True)))


class Holdings:
    """The entries that this worker has in hand, and since when nobody else was told so.

    Recovery leaves them alone, and their claim is renewed while they wait for ClickHouse.
    ``clock``: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._held: dict[str, dict[bytes, float]] = {}

    def __len__(self) -> int:
        return sum(len(ids) for ids in self._held.values())

    def take(self, entries: Iterable[Entry]) -> list[Entry]:
        """Takes in hand what is not already there; returns just that."""
        now = self._clock()
        taken: list[Entry] = []
        of: str | None = None
        held: dict[bytes, float] = {}
        for entry in entries:
            stream, entry_id = entry.stream, entry.entry_id
            if stream != of:
                of, held = stream, self._held.setdefault(stream, {})
            if entry_id not in held:
                held[entry_id] = now
                taken.append(entry)
        return taken

    def release(self, entries: Iterable[Entry]) -> None:
        """Lets go: settled, or left pending for whoever claims them."""
        for entry in entries:
            self._held.get(entry.stream, {}).pop(entry.entry_id, None)

    def due(self, older_than: float) -> Iterator[tuple[str, list[bytes]]]:
        """By stream, the ids whose claim was last renewed over ``older_than`` seconds ago."""
        limit = self._clock() - older_than
        for stream, held in self._held.items():
            if ids := [entry_id for entry_id, since in held.items() if since <= limit]:
                yield stream, ids

    def renewed(self, stream: str, ids: Iterable[bytes]) -> None:
        now = self._clock()
        held = self._held.get(stream, {})
        for entry_id in ids:
            if entry_id in held:
                held[entry_id] = now
