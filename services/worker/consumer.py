"""Reading the log with FastStream: a broker whose reads survive what happens to Redis.

FastStream 0.7 stops a subscriber for good when its group is gone, sleeps 5 s after any error, and reads a fixed count
whatever the entries weigh. It creates groups at ``$`` and does not start while Redis is away. All of this is decided in
three commands, so those are what we replace.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import structlog
from faststream import AckPolicy
from faststream.redis import RedisBroker, StreamSub
from faststream.redis.configs.state import RedisConnectionState
from faststream.redis.message import RedisBatchStreamMessage
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError
from typing_extensions import override

from shared.settings import RedisSettings, WorkerSettings
from shared.storage import describe
from shared.streams import ensure_group, pack_in_c, partitions
from shared.tasks import call_off
from shared.topology import Topology

from .entries import Entry, read_flat
from .read_size import ReadSize

log = structlog.get_logger()

R = TypeVar("R", bound="LogReader")
TakeEntries = Callable[[list[Entry]], Awaitable[None]]

_PAUSE_AFTER_ERROR = 0.5
"""Seconds. Redis restarts within one; a closed port answers at once, so this also bounds the rate of attempts."""

_SPARE_CONNECTIONS = 4


class LogReader(Redis):
    """A Redis client whose XREADGROUP makes the group again where it is gone, waits out an absent server, and aims at
    a number of bytes.
    """

    read_size: ReadSize

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Fields come as they lie in the reply; a dictionary for each entry would be made only to be taken apart.
        self.set_response_callback("XREADGROUP", _as_it_lies)

    @override
    async def ping(self, **kwargs: Any) -> bool:
        """FastStream gives up a start where no answer comes within 3 s; our reads wait for as long as it takes."""
        return True

    @override
    async def xgroup_create(self, name: Any, groupname: Any, *_: Any, **options: Any) -> Any:
        """At 0 whatever FastStream asks for: what was appended before the group was there must be delivered."""
        while True:
            try:
                return await super().xgroup_create(name, groupname, id="0", mkstream=True)
            except (RedisError, OSError) as error:
                if "BUSYGROUP" in str(error):
                    raise
                await self._wait_out(error)

    @override
    async def xreadgroup(self, *args: Any, **options: Any) -> Any:
        options["count"] = self.read_size.count(options["count"])
        try:
            reply: Any = await super().xreadgroup(*args, **options)
        except (RedisError, OSError) as error:
            if isinstance(error, ResponseError) and str(error).startswith(("NOGROUP", "UNBLOCKED")):
                await self._make_groups(options["groupname"], options["streams"])
            else:
                await self._wait_out(error)
            return []
        for _, entries in reply:
            size = sum([len(value) for _, fields in entries for value in fields[1::2]])
            self.read_size.learn(len(entries), size)
        return reply

    async def _make_groups(self, group: str, streams: dict[str, str]) -> None:
        for stream in streams:
            await ensure_group(self, stream, group)
        log.warning("group_made_again", group=group, streams=list(streams))

    async def _wait_out(self, error: Exception) -> None:
        log.warning("log_not_read", retry_in=_PAUSE_AFTER_ERROR, reason=describe(error))
        await asyncio.sleep(_PAUSE_AFTER_ERROR)


def _as_it_lies(response: Any, **_kwargs: Any) -> Any:
    return response or []


class ClusterReader(LogReader):
    """Reads each stream from the server of the cluster that holds it."""

    by_stream: dict[str, LogReader]

    @override
    async def xgroup_create(self, name: Any, groupname: Any, *_: Any, **options: Any) -> Any:
        return await self.by_stream[name].xgroup_create(name, groupname, **options)

    @override
    async def xreadgroup(self, *args: Any, **options: Any) -> Any:
        (stream,) = options["streams"]
        return await self.by_stream[stream].xreadgroup(*args, **options)

    @override
    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        for reader in self.by_stream.values():
            await reader.aclose(close_connection_pool)
        await super().aclose(close_connection_pool)


class _ReaderState(RedisConnectionState):
    def __init__(self, options: dict[str, Any], read_size: ReadSize, redis: RedisSettings) -> None:
        super().__init__(options)
        self._read_size = read_size
        self._streams = partitions(redis)
        self._topology = Topology.of(redis)

    async def connect(self) -> Redis:
        client: LogReader
        if self._topology.kind == "cluster":
            client = cluster = self._reader(ClusterReader, self._streams[0])
            cluster.by_stream = {stream: self._reader(LogReader, stream) for stream in self._streams}
        else:
            client = self._reader(LogReader, self._streams[0])
        self._client = client
        self._connected = True
        return client

    def _reader(self, kind: type[R], stream: str) -> R:
        wanted = ("max_connections", "socket_timeout", "socket_connect_timeout")
        options = {name: self._options[name] for name in wanted}
        pool = self._topology.pool(stream, protocol=2, **options)
        pack_in_c(pool)
        client = kind(connection_pool=pool)
        client.auto_close_connection_pool = True
        client.read_size = self._read_size
        return client


class LogBroker(RedisBroker):
    """FastStream's Redis broker on a LogReader."""

    def __init__(self, redis: RedisSettings, *, read_size: ReadSize, **options: Any) -> None:
        self._read_size = read_size
        self._redis = redis
        # FastStream would connect to a URL of its own reading; ours may name Sentinels or a cluster.
        super().__init__("redis://", **options)

    @override
    def _make_connection_state(
        self, connection_options: dict[str, Any], kwargs: dict[str, Any]
    ) -> RedisConnectionState:
        return _ReaderState(connection_options, self._read_size, self._redis)

    @override
    async def stop(self, *exc_info: Any) -> None:
        """Returns when nothing reads any more: FastStream only asks its readers to end, and closes their connections
        meanwhile.
        """
        reading = [task for subscriber in self.subscribers for task in getattr(subscriber, "tasks", ())]
        for subscriber in self.subscribers:
            await subscriber.stop()
        await call_off(reading)
        await super().stop(*exc_info)


async def _as_message(raw: Any) -> RedisBatchStreamMessage:
    """Entries as read, their ids beside them: nothing that any message format would unwrap."""
    stream = raw["channel"]
    body = [
        read_flat(stream, entry_id, fields) for entry_id, fields in zip(raw["message_ids"], raw["data"], strict=True)
    ]
    return RedisBatchStreamMessage(raw_message=raw, body=body, consumer=_NO_CONSUMER, group=None)


async def _entries(message: RedisBatchStreamMessage) -> list[Entry]:
    return cast("list[Entry]", message.body)


_NO_CONSUMER: Any = None
"""Entries are acknowledged by the batch that holds them, after the insert; never by a message."""


def build_broker(redis: RedisSettings, worker: WorkerSettings, consumer: str, take: TakeEntries) -> LogBroker:
    """A broker with one batch subscriber for each partition, all of them feeding ``take``.

    ``take`` returning late is what pauses reading.
    """
    broker = LogBroker(
        redis,
        # All readers may hold a read at once, waiting for room in a batch; and each blocks a connection.
        read_size=ReadSize(worker.worker_read_bytes // redis.stream_partitions),
        max_connections=redis.stream_partitions + _SPARE_CONNECTIONS,
        # A read blocks on purpose; its reply is due only after that.
        socket_timeout=worker.worker_read_block + redis.redis_timeout,
        socket_connect_timeout=redis.redis_timeout,
        apply_types=False,
        logger=None,
    )
    for stream in partitions(redis):
        subscriber = broker.subscriber(
            stream=StreamSub(
                stream,
                group=redis.consumer_group,
                consumer=consumer,
                batch=True,
                max_records=worker.worker_read_count,
                polling_interval=int(worker.worker_read_block * 1000),
            ),
            parser=_as_message,
            decoder=_entries,
            ack_policy=AckPolicy.MANUAL,
        )
        subscriber(take)
    return broker
