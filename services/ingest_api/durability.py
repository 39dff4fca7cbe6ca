"""What a 200 promises beyond Redis's word: nothing, its disk, or its replicas.

``fsynced`` needs no command of its own: under ``appendfsync always`` Redis writes and syncs its file before it
answers (WAITAOF under ``everysec`` would cost 100 ms a group, and under ``always`` it adds nothing). So it is a check
that Redis is set up that way. ``replicated`` asks with WAIT, on the connection of the appends and once a group, since
WAIT counts what was written on its own connection.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import structlog
from redis.exceptions import RedisError

from shared.errors import PlauditError
from shared.storage import describe

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = structlog.get_logger()

Mode = Literal["acknowledged", "fsynced", "replicated"]


class DurabilityError(PlauditError):
    """Redis cannot keep the promise that is asked of the door. The message says what to change."""

    def __init__(self, mode: Mode, reason: str) -> None:
        super().__init__(f"PLAUDIT_INGEST_DURABILITY={mode}: {reason}")
        self.mode = mode
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Durability:
    """``replicas``: how many must have a group; ``timeout``: seconds to wait for them."""

    mode: Mode = "acknowledged"
    replicas: int = 1
    timeout: float = 1.0

    @property
    def command(self) -> bytes:
        """What ends a group of appends, in Redis's protocol; empty where nothing is to be asked."""
        if self.mode != "replicated":
            return b""
        arguments = [b"WAIT", b"%d" % self.replicas, b"%d" % int(self.timeout * 1000)]
        return b"*3\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments)

    def shortfall(self, reply: object) -> DurabilityError | None:
        """What the reply to ``command`` means: None if enough replicas have the group."""
        if isinstance(reply, int) and reply >= self.replicas:
            return None
        return DurabilityError(self.mode, f"{reply} of {self.replicas} replicas have the append")

    async def check(self, redis: Redis) -> None:
        """Raises DurabilityError if Redis is not set up for the mode, RedisError if it does not answer."""
        if self.mode == "fsynced":
            config: dict[Any, Any] = await redis.config_get("appendonly", "appendfsync")
            if config.get("appendonly") != "yes" or config.get("appendfsync") != "always":
                raise DurabilityError(self.mode, "set appendonly yes and appendfsync always on Redis")
        if self.mode == "replicated":
            info: dict[str, Any] = await redis.info("replication")
            connected = int(info.get("connected_slaves", 0))
            if connected < self.replicas:
                raise DurabilityError(
                    self.mode, f"Redis has {connected} replicas connected, {self.replicas} are needed"
                )


class DurabilityWatch:
    """Looks again and again whether Redis is still set up for the mode: it may be restarted with other settings."""

    INTERVAL = 5.0

    def __init__(self, redis: Redis, durability: Durability) -> None:
        self._redis = redis
        self._durability = durability
        self.broken: str | None = None

    async def at_start(self) -> None:
        """Raises DurabilityError. A Redis that does not answer is looked at later, by ``run``."""
        try:
            await self._durability.check(self._redis)
        except (RedisError, OSError) as error:
            log.warning("durability_not_checked", mode=self._durability.mode, reason=describe(error))

    async def run(self) -> None:
        """For ever; cancel to stop."""
        while True:
            await asyncio.sleep(self.INTERVAL)
            try:
                await self._durability.check(self._redis)
            except DurabilityError as error:
                if self.broken is None:
                    log.error("durability_broken", mode=error.mode, reason=error.reason)
                # Replicas that are away are told apart by each WAIT; a wrong set-up only here.
                self.broken = error.reason if self._durability.mode == "fsynced" else None
            except (RedisError, OSError) as error:
                log.debug("durability_not_checked", reason=describe(error))
            else:
                self.broken = None
