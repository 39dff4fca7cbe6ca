"""Dead letters: events and entries that cannot be stored, kept whole with their reason until someone decides.

They lie in one Redis hash under (request_id, event_index), so that a redelivery keeps nothing twice. The hash is
bounded, and what does not fit is refused, never dropped: the entry then stays pending in the log.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.envelope import Envelope
from shared.errors import StoreUnavailableError
from shared.storage import describe

log = structlog.get_logger()

KEY = "plaudit:{dead-letters}"

_SCAN_COUNT = 500


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


class DeadLetterBox:
    """``capacity``: letters at most."""

    def __init__(self, redis: Redis, capacity: int) -> None:
        self._redis = redis
        self._capacity = capacity

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """Keeps all of them, or raises StoreUnavailableError: full, or Redis does not take them."""
        if not letters:
            return
        try:
            if await self.count() + len(letters) > self._capacity:
                known = await self._redis.hmget(KEY, [letter.id for letter in letters])
                fresh = sum(found is None for found in known)
                if await self.count() + fresh > self._capacity:
                    raise StoreUnavailableError("dead letters", f"full: {self._capacity} letters")
            await self._redis.hset(KEY, mapping={letter.id: _encoder.encode(letter) for letter in letters})
        except (RedisError, OSError) as error:
            raise StoreUnavailableError("dead letters", describe(error)) from error

    async def count(self) -> int:
        return int(await self._redis.hlen(KEY))

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
