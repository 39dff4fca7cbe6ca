"""API keys: who may do what in which project.

Tokens are kept hashed. Their durable home is ClickHouse (tables ``projects`` and ``api_keys``); Redis holds a
copy of that list, and every process a snapshot of it. Asking a snapshot costs a hash and a dictionary look-up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import msgspec


class KeyKind(StrEnum):
    """What a key is for. Each kind may do what its vendor's key of that name may do, and no more."""

    LANGWATCH = "langwatch"
    LUNARY_PUBLIC = "lunary-public"
    LUNARY_PRIVATE = "lunary-private"
    READ = "read"


_KINDS = frozenset(KeyKind)


def token_hash(token: str) -> bytes:
    """SHA-256: tokens are long random strings, so a slow password hash would protect nothing."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


class KeyRecord(msgspec.Struct, frozen=True, array_like=True):
    """One key as the store holds it: a key may be bound to several projects."""

    token_hash: bytes
    kind: str
    project_ids: list[str]


@dataclass(frozen=True, slots=True)
class Key:
    """A key that was presented and is known. ``project_ids`` is sorted and never empty."""

    kind: KeyKind
    project_ids: tuple[str, ...]
    fingerprint: str

    @property
    def sole_project(self) -> str | None:
        """The project that the key implies; None when it is bound to several."""
        return self.project_ids[0] if len(self.project_ids) == 1 else None


class KeySnapshot:
    """All keys as of one moment. Immutable; a newer one takes its place. Keys of a kind that only a later release knows
    are passed over.
    """

    __slots__ = ("_by_fingerprint", "_keys", "size")

    def __init__(self, records: Iterable[KeyRecord]) -> None:
        self._keys = {
            record.token_hash: Key(
                KeyKind(record.kind), tuple(sorted(record.project_ids)), fingerprint(record.token_hash)
            )
            for record in records
            if record.kind in _KINDS
        }
        self._by_fingerprint = {key.fingerprint: key for key in self._keys.values()}
        self.size = len(self._keys)

    def find(self, token: str) -> Key | None:
        return self._keys.get(token_hash(token))

    def find_fingerprint(self, fingerprint: str) -> Key | None:
        """The key that a session was opened with. A fingerprint alone proves nothing."""
        return self._by_fingerprint.get(fingerprint)


def fingerprint(hashed: bytes) -> str:
    """Tells keys apart in listings and logs without telling what they are."""
    return hashed.hex()[:12]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[KeyRecord])


def pack(records: list[KeyRecord]) -> bytes:
    """The form of the copy in Redis."""
    return _encoder.encode(records)


def unpack(packed: bytes) -> list[KeyRecord]:
    return _decoder.decode(packed)
