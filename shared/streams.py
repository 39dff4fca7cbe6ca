"""Names of streams and groups, and the few commands that everyone who touches them must send alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import hiredis
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import ConnectionPool
from redis.exceptions import ResponseError

from shared.topology import Topology

if TYPE_CHECKING:
    from shared.settings import RedisSettings


def connect(settings: RedisSettings) -> Redis:
    """A client whose every reply is bounded in time. It connects when it is first used."""
    topology = Topology.of(settings)
    redis = topology.client(**_options(settings))
    if topology.kind != "cluster":
        pack_in_c(redis.connection_pool)
    return redis


def connect_to(settings: RedisSettings, stream: str, *, timed: bool = True) -> Redis:
    """As ``connect``, for one stream and what lies in its slot: always connected to the one server that holds it.

    Not ``timed``: replies are waited for without end, by callers that time several of them together.
    """
    options = _options(settings)
    if not timed:
        # redis-py times every write and read apart, each with timers of its own.
        options |= {"socket_timeout": None, "health_check_interval": 0}
    redis: Redis = Redis(connection_pool=Topology.of(settings).pool(stream, **options))
    pack_in_c(redis.connection_pool)
    return redis


def _options(settings: RedisSettings) -> dict[str, Any]:
    return {
        "socket_timeout": settings.redis_timeout,
        "socket_connect_timeout": settings.redis_timeout,
        "health_check_interval": 15,
        "protocol": 2,
    }


async def memory(redis: Redis) -> tuple[int, int]:
    """Bytes used and maxmemory (0: no limit); in a cluster, of the master that is nearest to its limit."""
    cluster: Any = redis
    if isinstance(cluster, RedisCluster):
        told: dict[str, dict[str, Any]] = await cluster.info("memory", target_nodes=RedisCluster.PRIMARIES)
        found = [(int(info["used_memory"]), int(info.get("maxmemory", 0))) for info in told.values()]
        return max(found, key=lambda node: node[0] / (node[1] or 1 << 62))
    info: dict[str, Any] = await redis.info("memory")
    return int(info["used_memory"]), int(info.get("maxmemory", 0))


def pack_in_c(pool: ConnectionPool) -> None:
    """Commands of thousands of arguments (ids to look up, mark or settle) are packed by hiredis, as redis-py's
    blocking client does; its asyncio client spends a microsecond an argument on it. Before the first connection.
    """
    plain: Any = pool.connection_class

    class Packing(plain):  # type: ignore[misc]
        def pack_command(self, *args: Any) -> list[bytes]:
            words = args[0].encode() if isinstance(args[0], str) else args[0]
            return [hiredis.pack_command((*words.split(), *args[1:]))]

    pool.connection_class = Packing


def partitions(settings: RedisSettings) -> list[str]:
    """The streams of the log. The braces are Redis Cluster's hash tag: each partition has its own slot."""
    return [f"{settings.stream_name}:{{{i}}}" for i in range(settings.stream_partitions)]


async def ensure_group(redis: Redis, stream: str, group: str) -> None:
    """Creates the consumer group at 0 and the stream with it, if either is missing.

    At 0, not at ``$``: what was appended before the first worker started must be delivered.
    """
    try:
        await redis.xgroup_create(stream, group, id="0", mkstream=True)
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise


@dataclass(frozen=True, slots=True)
class Backlog:
    """The state of the log. ``length`` is exact: entries leave the stream when they are acknowledged.

    oldest: milliseconds since 1970 at which the oldest entry was appended; None when there is none.
    """

    length: int
    pending: int
    consumers: int
    oldest: int | None


async def backlog(redis: Redis, streams: list[str], group: str) -> Backlog:
    """Sums over all partitions, in one round trip. Group and stream may be missing: that counts as empty."""
    pipe = redis.pipeline(transaction=False)
    for stream in streams:
        pipe.xlen(stream)
        pipe.xrange(stream, count=1)
        pipe.xpending(stream, group)
    replies = await pipe.execute(raise_on_error=False)
    length = pending = 0
    consumers: set[bytes] = set()
    oldest: int | None = None
    for count, first, summary in zip(replies[0::3], replies[1::3], replies[2::3], strict=True):
        for reply in (count, first):
            if isinstance(reply, Exception):
                raise reply
        length += count
        if first:
            appended = int(first[0][0].split(b"-")[0])
            oldest = appended if oldest is None else min(oldest, appended)
        if isinstance(summary, ResponseError):
            if "NOGROUP" not in str(summary):
                raise summary
        else:
            pending += summary["pending"]
            consumers.update(consumer["name"] for consumer in summary["consumers"])
    return Backlog(length, pending, len(consumers), oldest)


async def settle(redis: Redis, stream: str, group: str, entry_ids: list[bytes]) -> int:
    """Acknowledges and deletes entries in one MULTI; returns how many were still there.

    Both or neither: after an XACK and a crash before the XDEL an entry would lie in no pending list and never
    be claimed. Nothing in it allocates, so a full Redis can still drain.
    """
    pipe = redis.pipeline(transaction=True)
    pipe.xdel(stream, *entry_ids)
    pipe.xack(stream, group, *entry_ids)
    deleted, _ = await pipe.execute()
    return int(deleted)


_RATES = "plaudit:{rates}"
_RATE_TRUSTED_FOR = 10.0


async def publish_rate(redis: Redis, consumer: str, rate: float, now: float) -> None:
    """A worker tells how many entries a second it settles. ``now``: seconds since 1970."""
    pipe = redis.pipeline(transaction=False)
    pipe.hset(_RATES, consumer, f"{rate:.1f} {now:.1f}")
    pipe.expire(_RATES, int(_RATE_TRUSTED_FOR) * 6)
    await pipe.execute()


async def drain_rate(redis: Redis, now: float) -> float:
    """Entries a second that all workers together settle, as far as they told within the last seconds."""
    told: Any = await redis.hgetall(_RATES)
    total = 0.0
    gone = []
    for consumer, report in told.items():
        rate, at = report.split()
        if now - float(at) <= _RATE_TRUSTED_FOR:
            total += float(rate)
        else:
            gone.append(consumer)
    if gone:
        await redis.hdel(_RATES, *gone)
    return total


async def forget_rate(redis: Redis, consumer: str) -> None:
    """A worker leaves."""
    await redis.hdel(_RATES, consumer)
