"""What one stream entry holds: the feedback-bearing events of one request, as received.

The door writes envelopes, the workers read them; both may be of different releases during an
upgrade. So the encoding (a MessagePack array) only ever grows at its end, with defaults: an old
reader ignores what it does not know, a new one fills in what an old writer did not send.
"""

from __future__ import annotations

import msgspec

from shared.errors import EnvelopeError

FIELD = b"envelope"
"""The one field of a stream entry. Named, so that no reader mistakes it for a message of its own format."""


class RawEvent(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One event of a request: its place in the request, and the client's own JSON of it."""

    index: int
    raw: bytes


class Envelope(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The feedback of one accepted request, or a part of it (design: requests above a size are split).

    ``request_id`` is 128 random bits and ``received_at`` microseconds since 1970. The door mints both
    once, before the first append; they survive retry, spool, claim and replay.
    ``part`` numbers the entries of one request, whatever project they are for, so that each can be marked as done
    on its own. ``replayed``: imported, or set aside once and sent again; goes round the window of redeliveries, and its
    age tells nothing of the pipeline's delay.
    ``traceparent`` (W3C's form) names the span that appended it, so that one trace reaches from the request to the
    insert; empty where the request is not traced.
    """

    project_id: str
    source: str
    request_id: bytes
    received_at: int
    events: list[RawEvent]
    part: int = 0
    replayed: bool = False
    traceparent: bytes = b""

    @property
    def work_id(self) -> bytes:
        """Names this unit of work across redeliveries: the request and, beyond the first, its part."""
        return self.request_id + self.part.to_bytes(4, "big") if self.part else self.request_id


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Envelope)


def encode(envelope: Envelope) -> bytes:
    return _encoder.encode(envelope)


def decode(payload: bytes | None) -> Envelope:
    """Raises EnvelopeError for what no release of Plaudit wrote, the missing field of an entry included."""
    if payload is None:
        raise EnvelopeError("the entry has no field 'envelope'")
    try:
        envelope = _decoder.decode(payload)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise EnvelopeError(str(error)) from error
    if len(envelope.request_id) != 16:
        raise EnvelopeError(f"request_id has {len(envelope.request_id)} bytes, not 16")
    return envelope
