"""Reading the log with FastStream: a broker whose reads survive what happens to Redis.

FastStream 0.7 stops a subscriber for good when its group is gone, sleeps 5 s after any error, and reads a fixed count
whatever the entries weigh. All three are decided in one command, XREADGROUP, so that command is what we replace.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import structlog
from faststream import AckPolicy
from faststream.redis import RedisBroker, StreamSub
from faststream.redis.configs.state import RedisConnectionState
from faststream.redis.message import RedisBatchStreamMessage
from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool
from redis.exceptions import RedisError, ResponseError
from typing_extensions import override

from shared.settings import RedisSettings, WorkerSettings
from shared.storage import describe
from shared.streams import ensure_group, partitions

from .entries import Entry, read_entry

log = structlog.get_logger()

TakeEntries = Callable[[list[Entry]], Awaitable[None]]

_PAUSE_AFTER_ERROR = 0.5
"""Seconds. Redis restarts within one; a closed port answers at once, so this also bounds the rate of attempts."""


class LogReader(Redis):
    """A Redis client whose XREADGROUP makes the group again where it is gone, waits out an absent server, and aims at
    a number of bytes: an entry may weigh 100 bytes or half a megabyte, and a read is held in memory whole.
    """

    bytes_a_read = 0
    _entry_size = 1024.0

    async def xreadgroup(self, *args: Any, **options: Any) -> Any:
        fitting = max(1, int(self.bytes_a_read / self._entry_size))
        options["count"] = min(options.get("count") or fitting, fitting)
        group, streams = options["groupname"], options["streams"]
        try:
            reply: Any = await super().xreadgroup(*args, **options)
        except ResponseError as error:
            if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
                await self._wait_out(error)
                return []
            return await self._make_groups(group, streams)
        except (RedisError, OSError) as error:
            await self._wait_out(error)
            return []
        for _, entries in reply:
            if entries:
                size = sum(len(value) for _, fields in entries for value in fields.values()) / len(entries)
                # Follows larger entries at once, smaller ones gradually: the limit is there for the large.
                self._entry_size = max(size, 0.8 * self._entry_size + 0.2 * size, 1.0)
        return reply

    async def _make_groups(self, group: str, streams: dict[str, str]) -> list[Any]:
        try:
            for stream in streams:
                await ensure_group(self, stream, group)
        except (RedisError, OSError) as error:
            await self._wait_out(error)
        else:
            log.warning("group_made_again", group=group, streams=list(streams))
        return []

    async def _wait_out(self, error: Exception) -> None:
        log.warning("log_not_read", retry_in=_PAUSE_AFTER_ERROR, reason=describe(error))
        await asyncio.sleep(_PAUSE_AFTER_ERROR)


class _ReaderState(RedisConnectionState):
    def __init__(self, options: dict[str, Any], bytes_a_read: int) -> None:
        super().__init__(options)
        self._bytes_a_read = bytes_a_read

    async def connect(self) -> Redis:
        client = LogReader(connection_pool=ConnectionPool(**self._options))
        client.auto_close_connection_pool = True
        client.bytes_a_read = self._bytes_a_read
        self._client = client
        self._connected = True
        return client


class LogBroker(RedisBroker):
    """FastStream's Redis broker on a LogReader."""

    def __init__(self, url: str, *, bytes_a_read: int, **options: Any) -> None:
        self._bytes_a_read = bytes_a_read
        super().__init__(url, **options)

    @override
    def _make_connection_state(
        self, connection_options: dict[str, Any], kwargs: dict[str, Any]
    ) -> RedisConnectionState:
        return _ReaderState(connection_options, self._bytes_a_read)


async def _as_message(raw: Any) -> RedisBatchStreamMessage:
    """Entries as read, their ids beside them: nothing that any message format would unwrap."""
    stream = raw["channel"]
    body = [
        read_entry(stream, entry_id, fields) for entry_id, fields in zip(raw["message_ids"], raw["data"], strict=True)
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
        redis.redis_url.get_secret_value(),
        bytes_a_read=worker.worker_read_bytes,
        # A read blocks on purpose; its reply is due only after that.
        socket_timeout=worker.worker_read_block + redis.redis_timeout,
        socket_connect_timeout=redis.redis_timeout,
        protocol=2,
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
