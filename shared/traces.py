"""What is known of a trace besides its feedback: a slim record, learnt from the runs and spans that pass the door.

No text of prompts or answers: names, ids and what the operator put on a list. It is learnt as it passes and helps to
break feedback down; feedback without it counts all the same, so nothing here is ever waited for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from shared.envelope import RawEvent
from shared.errors import EnvelopeError

TRACES = "traces"
"""The ``source`` of envelopes that hold such records. Workers of a release that does not know it set them aside."""

_LONGEST_TEXT = 200
_MOST_TAGS = 20
_RECORDS_A_PIECE = 500


class TraceRecord(msgspec.Struct, array_like=True, frozen=True):
    """What one run, message or set of spans told of its trace. Empty texts: not told.

    source: the vendor's. trace_id: as feedback would name it; UUIDs in lower case.
    alias_of: the id under which the rest of the world knows this trace, where it is another; else empty.
    """

    source: str
    trace_id: str
    alias_of: str = ""
    parent_id: str = ""
    name: str = ""
    model: str = ""
    prompt: str = ""
    version: str = ""
    user_id: str = ""
    thread_id: str = ""
    tags: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()

    @property
    def tells(self) -> bool:
        """Whether there is anything in it but ids."""
        return any((self.name, self.model, self.prompt, self.version, self.user_id, self.tags, self.metadata))


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[TraceRecord]).decode


def pack(records: list[TraceRecord]) -> Iterator[RawEvent]:
    """Pieces for envelopes, a few hundred records each."""
    for index, start in enumerate(range(0, len(records), _RECORDS_A_PIECE)):
        yield RawEvent(index, _encode(records[start : start + _RECORDS_A_PIECE]))


def unpack(piece: RawEvent) -> list[TraceRecord]:
    """Raises EnvelopeError for what no release wrote."""
    try:
        return _decode(piece.raw)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise EnvelopeError(f"traces: {error}") from error


def told(value: object) -> str:
    """A value as it is kept: texts and numbers as text, cut where no name is that long; anything else as not told."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)[:_LONGEST_TEXT]
    return value[:_LONGEST_TEXT] if isinstance(value, str) else ""


def told_tags(values: object) -> tuple[str, ...]:
    """A list of tags as it is kept: sorted, without repeats."""
    if not isinstance(values, list | tuple):
        return ()
    return tuple(sorted({text for value in values if (text := told(value))})[:_MOST_TAGS])


def allowed(metadata: object, names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The entries of ``metadata`` that are on the list."""
    if not isinstance(metadata, dict):
        return ()
    return tuple((name, text) for name in names if (text := told(metadata.get(name))))
