"""During an upgrade doors and workers of two releases share the log: each must read what the other writes."""

from __future__ import annotations

import msgspec
import pytest

from shared.envelope import Envelope, RawEvent, decode, encode

_ENVELOPE = Envelope(
    "shop", "lunary", bytes(range(16)), 1_795_000_000_000_000, [RawEvent(0, b'{"a":1}'), RawEvent(3, b"{}")], 2, True
)

WRITTEN_BY = {
    # What each release wrote for _ENVELOPE; fields that it did not know have their defaults. Never edit a line: add one.
    "0.1.0": (
        "97a473686f70a66c756e617279c410000102030405060708090a0b0c0d0e0fcf0006608b015f30009292"
        "00c4077b2261223a317d9203c4027b7d02c3"
    ),
}


_TRACED = msgspec.structs.replace(_ENVELOPE, traceparent=b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")


class _OldRaw(msgspec.Struct, array_like=True):
    index: int
    raw: bytes


class _OldEnvelope(msgspec.Struct, array_like=True):
    """The fields of release 0.1.0, as a worker of that release reads them."""

    project_id: str
    source: str
    request_id: bytes
    received_at: int
    events: list[_OldRaw]
    part: int = 0
    replayed: bool = False


@pytest.mark.parametrize("release", WRITTEN_BY)
def test_what_earlier_releases_wrote_is_read(release: str) -> None:
    assert decode(bytes.fromhex(WRITTEN_BY[release])) == _ENVELOPE


@pytest.mark.parametrize("envelope", [_ENVELOPE, _TRACED], ids=["plain", "traced"])
def test_a_worker_of_the_first_release_reads_what_is_written_now(envelope: Envelope) -> None:
    old = msgspec.msgpack.decode(encode(envelope), type=_OldEnvelope)
    for name in _OldEnvelope.__struct_fields__:
        if name != "events":
            assert getattr(old, name) == getattr(_ENVELOPE, name)
    assert [(event.index, event.raw) for event in old.events] == [(e.index, e.raw) for e in _ENVELOPE.events]


def test_a_trace_travels_in_the_envelope_and_one_of_the_first_release_has_none() -> None:
    assert decode(encode(_TRACED)).traceparent == _TRACED.traceparent
    assert decode(bytes.fromhex(WRITTEN_BY["0.1.0"])).traceparent == b""
    # Where nothing is traced it costs two bytes.
    assert len(encode(_ENVELOPE)) == len(bytes.fromhex(WRITTEN_BY["0.1.0"])) + 2


def test_fields_of_later_releases_are_passed_over() -> None:
    plain = msgspec.msgpack.decode(encode(_ENVELOPE))
    plain[4] = [[*event, "of an event"] for event in plain[4]]
    assert decode(msgspec.msgpack.encode([*plain, {"of": "an envelope"}, 7])) == _ENVELOPE


def test_fields_that_an_earlier_release_did_not_send_have_their_defaults() -> None:
    plain = msgspec.msgpack.decode(encode(_ENVELOPE))
    assert decode(msgspec.msgpack.encode(plain[:5])) == Envelope(*[getattr(_ENVELOPE, n) for n in ENVELOPE_FIELDS[:5]])


ENVELOPE_FIELDS = _OldEnvelope.__struct_fields__


def test_the_encoding_has_only_grown_at_its_end_and_with_defaults() -> None:
    assert Envelope.__struct_fields__[: len(ENVELOPE_FIELDS)] == ENVELOPE_FIELDS
    assert RawEvent.__struct_fields__[:2] == ("index", "raw")
    for struct, required in ((Envelope, 5), (RawEvent, 2)):
        fields = msgspec.structs.fields(struct)
        assert [field.name for field in fields if field.required] == [field.name for field in fields[:required]]
