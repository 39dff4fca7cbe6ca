"""Dead letters: events and entries that cannot be stored, kept whole with their reason until someone decides.

They lie in one Redis hash under (request_id, event_index), so that a redelivery keeps nothing twice. The hash is
bounded in letters and in bytes; what does not fit is refused, never dropped: the entry then stays pending in the log.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.envelope import Envelope
from shared.errors import StoreUnavailableError
from shared.storage import describe

if TYPE_CHECKING:
    from shared.settings import RedisSettings

log = structlog.get_logger()

KEY = "plaudit:{dead-letters}"

_SCAN_COUNT = 500

_PUT = """
local fresh, bytes = 0, 0
for i = 3, #ARGV, 2 do
    local known = redis.call('HSTRLEN', KEYS[1], ARGV[i])
    if known == 0 then
        fresh = fresh + 1
        bytes = bytes + #ARGV[i] + 64
    end
    bytes = bytes + #ARGV[i + 1] - known
end
if fresh > 0 and redis.call('HLEN', KEYS[1]) + fresh > tonumber(ARGV[1]) then return 'letters' end
if bytes > 0 then
    local used = redis.call('MEMORY', 'USAGE', KEYS[1], 'SAMPLES', 0) or 0
    if used + bytes > tonumber(ARGV[2]) then return 'bytes' end
end
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
"""
"""Looks and keeps in one step, so that many workers stay within the room together. 64: what Redis takes for a field."""


class DeadLetter(msgspec.Struct, array_like=True, frozen=True):
    """``at``: when it was set aside, microseconds since 1970. ``envelope``: the one event in the envelope it came in,
    ready to be appended again; None for an entry that is no envelope, of which ``payload`` is all there is.
    """

    id: str
    reason: str
    at: int
    stream: str
    entry_id: str
    envelope: Envelope | None
    payload: bytes = b""

    @property
    def project_id(self) -> str | None:
        return self.envelope.project_id if self.envelope else None


def letter_id(envelope: Envelope, event_index: int) -> str:
    """The name of an event's dead letter: the request and its place in it."""
    return f"{envelope.request_id.hex()}:{event_index}"


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(DeadLetter)


class Size(NamedTuple):
    """Of dead letters: how many, and the bytes of Redis that they take."""

    letters: int
    bytes: int

    @classmethod
    def allowed(cls, settings: RedisSettings) -> Size:
        return cls(settings.dead_letters_capacity, settings.dead_letters_bytes)

    def share_of(self, room: Size) -> float:
        """Of letters or bytes, whichever is nearer to its bound; at 1 nothing more fits."""
        return max(self.letters / room.letters, self.bytes / room.bytes)


class DeadLetterBox:
    """``room``: the most that it may hold; None for those who put nothing in."""

    def __init__(self, redis: Redis, room: Size | None = None) -> None:
        self._redis = redis
        self._room = room

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """Keeps all of them, or raises StoreUnavailableError: full, or Redis does not take them."""
        if not letters:
            return
        assert self._room is not None
        packed = [part for letter in letters for part in (letter.id, _encoder.encode(letter))]
        try:
            full: Any = await self._redis.eval(_PUT, 1, KEY, *self._room, *packed)
        except (RedisError, OSError) as error:
            raise StoreUnavailableError("dead letters", describe(error)) from error
        if full:
            raise StoreUnavailableError("dead letters", f"full: {getattr(self._room, full.decode())} {full.decode()}")

    async def count(self) -> int:
        return int(await self._redis.hlen(KEY))

    async def size(self) -> Size:
        """To the byte, as Redis counts its memory."""
        return Size(await self.count(), int(await self._redis.memory_usage(KEY, samples=0) or 0))

    async def all(self) -> AsyncIterator[DeadLetter]:
        """Every letter once, in no order; a letter that is added or removed meanwhile may be missed."""
        seen: set[bytes] = set()
        async for name, packed in self._redis.hscan_iter(KEY, count=_SCAN_COUNT):
            if name not in seen and (letter := _unpack(name, packed)):
                seen.add(name)
                yield letter

    async def get(self, name: str) -> DeadLetter | None:
        """None where there is no such letter, or what is there is none."""
        packed = await self._redis.hget(KEY, name)
        return _unpack(name.encode(), packed) if isinstance(packed, bytes) else None

    async def remove(self, names: Sequence[str]) -> int:
        """Returns how many were there."""
        return int(await self._redis.hdel(KEY, *names)) if names else 0


def _unpack(name: bytes, packed: bytes) -> DeadLetter | None:
    try:
        return _decoder.decode(packed)
    except msgspec.DecodeError:
        log.warning("dead_letter_unreadable", letter=name.decode(errors="replace"))
        return None
