"""A process's view of the API keys: a snapshot, reloaded in the background.

With the keys' store away, what is known goes on working; what is unknown cannot be told from a new key, so it is
answered "try again", never "no".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import structlog
from redis.exceptions import RedisError

from shared.errors import StoreUnavailableError
from shared.keys import Key, KeyRecord, KeySnapshot, pack, unpack
from shared.storage import describe

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = structlog.get_logger()

COPY_IN_REDIS = "plaudit:keys"

LoadKeys = Callable[[], list[KeyRecord]]
"""Reads all keys from their durable home; blocking; whatever it raises, they cannot be read at present."""


class Keyring:
    """``refresh``: seconds between reloads, which bounds how long a revoked key goes on.
    ``clock``: monotonic seconds.
    """

    def __init__(self, load: LoadKeys, redis: Redis, *, refresh: float, clock: Callable[[], float]) -> None:
        self._load = load
        self._redis = redis
        self._refresh = refresh
        self._clock = clock
        self._snapshot: KeySnapshot | None = None
        self._loaded_at = float("-inf")
        self._last_failed = False
        self._reloading = asyncio.Lock()

    @property
    def ready(self) -> bool:
        """Whether any keys are known, from either home."""
        return self._snapshot is not None

    @property
    def snapshot(self) -> KeySnapshot | None:
        """All keys as of now. With every reload it is another object: what was made of it is to be forgotten then."""
        return self._snapshot

    def find(self, token: str) -> Key | None:
        """The key, if the current snapshot knows it. No waiting: this is what most requests need."""
        return self._snapshot.find(token) if self._snapshot else None

    def find_fingerprint(self, fingerprint: str) -> Key | None:
        """The key of a session, if the current snapshot knows it. A fingerprint alone proves nothing."""
        return self._snapshot.find_fingerprint(fingerprint) if self._snapshot else None

    async def look_up(self, token: str) -> Key | None:
        """As ``find``, but a token that is unknown is looked for once more in its home, at most once a second.

        Raises StoreUnavailableError when it is unknown and the home cannot be asked.
        """
        if key := self.find(token):
            return key
        asked_at = self._clock()
        async with self._reloading:
            # Those who waited here while another reloaded are served by what it found.
            if self._loaded_at < asked_at - 1.0:
                await self._reload()
        if key := self.find(token):
            return key
        if self._last_failed:
            raise StoreUnavailableError("keys", "the keys cannot be read at present")
        return None

    async def run(self) -> None:
        """Reloads for ever; cancel to stop."""
        while True:
            async with self._reloading:
                await self._reload()
            await asyncio.sleep(self._refresh)

    async def _reload(self) -> None:
        try:
            records = await asyncio.to_thread(self._load)
        except Exception as error:  # noqa: BLE001 -- what answers in the home's place makes the client raise anything
            if not self._last_failed:
                log.warning(
                    "keys_home_away", reason=describe(error), known=self._snapshot.size if self._snapshot else 0
                )
            self._last_failed = True
            self._loaded_at = self._clock()
            if self._snapshot is None:
                await self._load_copy()
            return
        self._last_failed = False
        self._loaded_at = self._clock()
        self._snapshot = KeySnapshot(records)
        try:
            await self._redis.set(COPY_IN_REDIS, pack(records))
        except (RedisError, OSError) as error:
            log.debug("keys_copy_not_written", reason=describe(error))

    async def _load_copy(self) -> None:
        try:
            packed = await self._redis.get(COPY_IN_REDIS)
            if not isinstance(packed, bytes):
                return
            self._snapshot = KeySnapshot(unpack(packed))
        except (RedisError, OSError, msgspec.DecodeError) as error:
            log.debug("keys_copy_not_read", reason=describe(error))
        else:
            log.info("keys_from_copy", known=self._snapshot.size)
