"""How far behind the answers are, and who keeps them up: one process at a time, by a lease in Redis."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog
from clickhouse_connect.driver.exceptions import ClickHouseError
from redis.exceptions import RedisError

from shared.errors import StoreUnavailableError
from shared.storage import describe

from . import resolving
from .errors import ApiError
from .refresh import Progress, Refresher
from .warehouse import Warehouse

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client
    from redis.asyncio import Redis

log = structlog.get_logger()

PROGRESS = "plaudit:{refresh}:progress"
LEASE = "plaudit:{refresh}:lease"

_LEASE_SECONDS = 15.0
_SAVE_EVERY = 20.0

# Taken if it is free or ours; renewed by the same.
_TAKE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class RefreshDuty:
    """Refreshes for as long as this process holds the lease.

    The lease saves work, not correctness: two processes at once write the same rows, and a row that was read earlier
    has the smaller generation. So who has it goes on while Redis is away.
    """

    def __init__(
        self,
        redis: Redis,
        connect: Callable[[], Client],
        *,
        interval: float,
        settle_after: float,
        clock: Callable[[], float],
    ) -> None:
        self._redis = redis
        self._connect = connect
        self._interval = interval
        self._settle_after = settle_after
        self._clock = clock
        self._me = secrets.token_hex(8)
        self._leading = False
        self._refresher: Refresher | None = None
        self._saved = Progress(0, 0)
        self._saved_at = float("-inf")

    async def run(self) -> None:
        """For ever; cancel to stop."""
        try:
            while True:
                started = self._clock()
                await self._turn()
                took = self._clock() - started
                # What takes long is done less often, so that it never takes more than a third of the machine's time.
                await asyncio.sleep(max(self._interval - took, 2 * took if took > self._interval / 2 else 0.0))
        finally:
            await self._leave()

    async def _turn(self) -> None:
        if not await self._lease():
            self._forget()
            return
        try:
            progress = await asyncio.to_thread(self._refresh)
        except (ClickHouseError, StoreUnavailableError, OSError) as error:
            log.warning("refresh_failed", reason=describe(error))
            self._forget()
            return
        await self._tell(progress)

    async def _lease(self) -> bool:
        try:
            taken = await self._redis.eval(_TAKE, 1, LEASE, self._me, int(_LEASE_SECONDS * 1000))
        except (RedisError, OSError):
            return self._leading
        if bool(taken) != self._leading:
            log.info("refresh_lease_taken" if taken else "refresh_lease_lost")
        self._leading = bool(taken)
        return self._leading

    def _refresh(self) -> Progress:
        if self._refresher is None:
            self._refresher = Refresher(self._connect(), self._settle_after)
        progress = self._refresher.refresh()
        due = self._clock() - self._saved_at >= _SAVE_EVERY
        if due and progress.as_of != self._saved.as_of:
            self._refresher.save()
            self._saved, self._saved_at = progress, self._clock()
        return progress

    async def _tell(self, progress: Progress) -> None:
        try:
            await self._redis.set(PROGRESS, f"{progress.as_of} {progress.generation}")
        except (RedisError, OSError) as error:
            log.debug("progress_not_told", reason=describe(error))

    def _forget(self) -> None:
        """Whoever leads next may be another; what was known is then stale."""
        if self._refresher is not None:
            self._refresher.client.close()
            self._refresher = None

    async def _leave(self) -> None:
        self._forget()
        if self._leading:
            try:
                await self._redis.eval(_RELEASE, 1, LEASE, self._me)
            except (RedisError, OSError) as error:
                log.debug("refresh_lease_not_released", reason=describe(error))


class Freshness:
    """What readers are told. ``trusted_for``: seconds that an answer is given again. ``clock``: monotonic seconds."""

    def __init__(
        self, redis: Redis, warehouse: Warehouse, *, clock: Callable[[], float], trusted_for: float = 0.5
    ) -> None:
        self._redis = redis
        self._warehouse = warehouse
        self._clock = clock
        self._trusted_for = trusted_for
        self._known: Progress | None = None
        self._asked_at = float("-inf")

    async def progress(self) -> Progress | None:
        """None before the first refresh. With Redis away, what was saved in ClickHouse, some seconds older.

        Raises ApiError if neither answers.
        """
        if self._clock() - self._asked_at > self._trusted_for:
            self._known = await self._ask()
            self._asked_at = self._clock()
        return self._known

    async def _ask(self) -> Progress | None:
        try:
            told = await self._redis.get(PROGRESS)
        except (RedisError, OSError):
            told = None
        if isinstance(told, bytes):
            as_of, _, generation = told.partition(b" ")
            return Progress(int(as_of), int(generation))
        rows = await self._warehouse.rows(resolving.LOAD_STATE, {})
        return Progress(*rows[0].values()) if rows else None


async def staleness(freshness: Freshness, now_micros: int) -> tuple[int | None, float | None]:
    """As of when (microseconds since 1970) the answers hold, and how many seconds ago that is; None if nobody tells."""
    try:
        progress = await freshness.progress()
    except ApiError:
        return None, None
    if progress is None:
        return None, None
    return progress.as_of, max(0.0, round((now_micros - progress.as_of) / 1e6, 3))
