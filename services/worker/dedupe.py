"""The window of redeliveries: which requests are done already, kept in Redis.

It saves work, never correctness: what it has forgotten is inserted again and collapses by the table's key. So every
failure of it is survived, and any of it may be deleted at any time.

Members lie in buckets by the time of receipt, which no redelivery changes: each look-up asks one bucket. A member is
16 bytes and costs about 72 in Redis: at 1,000 requests a second an hour is 3.6 million members, 260 MB. Where that is
too much, ``capacity`` forgets the oldest buckets first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.envelope import Envelope
from shared.storage import describe

log = structlog.get_logger()

_BUCKETS_A_WINDOW = 12


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """``seconds``: how long a request is remembered after it was last marked; ``capacity``: members at most, of all
    buckets together.
    """

    seconds: int
    capacity: int


class RedeliveryWindow:
    """``namespace`` gives the UUID of the table, so that a table restored from a backup is not starved by what was
    done to the one before it. While it is not known, the window knows nothing.
    """

    def __init__(self, redis: Redis, namespace: Callable[[], str | None], limits: WindowLimits) -> None:
        self._redis = redis
        self._namespace = namespace
        self._limits = limits
        self._bucket_micros = max(1, limits.seconds // _BUCKETS_A_WINDOW) * 1_000_000

    async def done(self, envelopes: Iterable[Envelope]) -> set[bytes]:
        """The work_ids among these that are marked. One round trip; a window that cannot be read knows none."""
        buckets, prefix = self._by_bucket(envelopes), self._prefix()
        if not buckets or prefix is None:
            return set()
        pipe = self._redis.pipeline(transaction=False)
        for bucket, members in buckets.items():
            pipe.smismember(prefix + str(bucket), members)
        try:
            replies = await pipe.execute()
        except (RedisError, OSError) as error:
            log.warning("window_not_read", reason=describe(error))
            return set()
        return {
            member
            for members, marks in zip(buckets.values(), replies, strict=True)
            for member, marked in zip(members, marks, strict=True)
            if marked
        }

    async def mark(self, envelopes: Iterable[Envelope]) -> None:
        """Remembers these as done. One round trip; a failure costs nothing but work."""
        buckets, prefix = self._by_bucket(envelopes), self._prefix()
        if not buckets or prefix is None:
            return
        index = prefix + "buckets"
        pipe = self._redis.pipeline(transaction=False)
        for bucket, members in buckets.items():
            pipe.sadd(prefix + str(bucket), *members)
            pipe.expire(prefix + str(bucket), self._limits.seconds)
            pipe.zadd(index, {str(bucket): bucket})
        pipe.expire(index, self._limits.seconds)
        pipe.zrange(index, 0, -1)
        try:
            replies = await pipe.execute()
            await self._forget_oldest(prefix, [int(bucket) for bucket in replies[-1]])
        except (RedisError, OSError) as error:
            log.warning("window_not_marked", reason=describe(error))

    async def _forget_oldest(self, prefix: str, buckets: list[int]) -> None:
        """Deletes whole buckets, oldest first, until the rest fit."""
        pipe = self._redis.pipeline(transaction=False)
        for bucket in buckets:
            pipe.scard(prefix + str(bucket))
        sizes = dict(zip(buckets, await pipe.execute(), strict=True))
        excess = sum(sizes.values()) - self._limits.capacity
        gone = [bucket for bucket in buckets if sizes[bucket] == 0]
        for bucket in buckets:
            if excess <= 0:
                break
            gone.append(bucket)
            excess -= sizes[bucket]
        if gone:
            await self._redis.unlink(*(prefix + str(bucket) for bucket in gone))
            await self._redis.zrem(prefix + "buckets", *(str(bucket) for bucket in gone))

    def _prefix(self) -> str | None:
        namespace = self._namespace()
        # One hash tag: all buckets lie in one slot of a cluster, so that one pipeline serves a batch.
        return f"plaudit:{{done}}:{namespace}:" if namespace else None

    def _by_bucket(self, envelopes: Iterable[Envelope]) -> dict[int, list[bytes]]:
        buckets: defaultdict[int, list[bytes]] = defaultdict(list)
        for envelope in envelopes:
            buckets[envelope.received_at // self._bucket_micros].append(envelope.work_id)
        return buckets
