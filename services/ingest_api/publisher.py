"""Appends to the log. A request is answered after Redis has acknowledged its entries, never before.

Appends of concurrent requests travel together: while one group is on its way, the next gathers. So the more
requests there are, the fewer round trips each costs.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog
from redis.exceptions import BusyLoadingError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.envelope import FIELD, Envelope, encode
from shared.errors import StoreUnavailableError
from shared.storage import describe

from .durability import Durability

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.connection import AbstractConnection

    from shared.telemetry import IngestMetrics

log = structlog.get_logger()

_MULTI = b"*1\r\n$5\r\nMULTI\r\n"
_EXEC = b"*1\r\n$4\r\nEXEC\r\n"


class Appender(Protocol):
    """Where the door leaves what it has taken. Not a coroutine by contract: each one between a request and its answer
    is memory that lies about while the answer is waited for.
    """

    def append(self, envelopes: Sequence[Envelope]) -> Awaitable[None]:
        """Done when all of them, or none, are durably in the log. Raises StoreUnavailableError otherwise, at once or
        when it is awaited.
        """


class Limits(NamedTuple):
    """batch: most requests in one group. queue, queue_bytes: what may wait. timeout: seconds for one group.
    lanes: groups on their way at once.
    """

    batch: int
    queue: int
    queue_bytes: int
    timeout: float
    lanes: int


class _Append(NamedTuple):
    """One request's commands, how many replies they bring, and who waits for them."""

    commands: bytes
    replies: int
    done: asyncio.Future[None]


class Publisher:
    """``clock``: monotonic seconds. Start ``run`` before the first append."""

    def __init__(
        self,
        redis: Redis,
        streams: Sequence[str],
        limits: Limits,
        metrics: IngestMetrics,
        *,
        clock: Callable[[], float],
        durability: Durability | None = None,
    ) -> None:
        self._redis = redis
        self._durability = durability or Durability()
        self._heads = [_xadd_head(stream) for stream in streams]
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._waiting: deque[_Append] = deque()
        self._waiting_bytes = 0
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failing = False

    def append(self, envelopes: Sequence[Envelope]) -> Awaitable[None]:
        """See Appender. Entries of one request go to one stream, several of them in one MULTI."""
        if len(self._waiting) >= self._limits.queue or self._waiting_bytes >= self._limits.queue_bytes:
            raise StoreUnavailableError("redis", "too many appends are waiting")
        if self._loop is None:
            raise StoreUnavailableError("redis", "the door is not open")
        head = self._heads[int.from_bytes(envelopes[0].request_id[:4], "big") % len(self._heads)]
        if len(envelopes) == 1:
            payload = encode(envelopes[0])
            commands, replies = b"%b$%d\r\n%b\r\n" % (head, len(payload), payload), 1
        else:
            payloads = [encode(envelope) for envelope in envelopes]
            adds = b"".join([b"%b$%d\r\n%b\r\n" % (head, len(payload), payload) for payload in payloads])
            commands, replies = _MULTI + adds + _EXEC, len(payloads) + 2
        done = self._loop.create_future()
        # Made as a tuple of the class: calling the class costs twice as much.
        self._waiting.append(tuple.__new__(_Append, (commands, replies, done)))
        self._waiting_bytes += len(commands)
        self._wake.set()
        return done

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn; those on their way are not among them."""
        return len(self._waiting)

    async def run(self) -> None:
        """Carries appends for ever; cancel to stop. What waits then is refused."""
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as lanes:
                for _ in range(self._limits.lanes):
                    lanes.create_task(self._lane())
        finally:
            self._loop = None
            self._refuse_waiting(StoreUnavailableError("redis", "the door is closing"))

    async def _lane(self) -> None:
        connection: AbstractConnection | None = None
        try:
            while True:
                await self._wake.wait()
                group = self._take_group()
                if not group:
                    continue
                try:
                    async with asyncio.timeout(self._limits.timeout):
                        if connection is None:
                            connection = await self._redis.connection_pool.get_connection()  # type: ignore[no-untyped-call]
                        await self._carry(connection, group)
                except BaseException as error:
                    _refuse(group, StoreUnavailableError("redis", describe(error)))
                    if connection is not None:
                        # Replies may be outstanding: on this connection nothing can be told apart any more.
                        await connection.disconnect(nowait=True)
                    if not isinstance(error, RedisError | OSError | TimeoutError):
                        raise
                    self._report(error)
                    self._refuse_waiting(StoreUnavailableError("redis", describe(error)))
                else:
                    self._report(None)
        finally:
            if connection is not None:
                await self._redis.connection_pool.release(connection)

    def _take_group(self) -> list[_Append]:
        waiting = self._waiting
        group = [waiting.popleft() for _ in range(min(len(waiting), self._limits.batch))]
        self._waiting_bytes -= sum([len(append.commands) for append in group])
        if not waiting:
            self._wake.clear()
        return group

    async def _carry(self, connection: AbstractConnection, group: list[_Append]) -> None:
        started = self._clock()
        # What durability asks is asked once a group, behind its last append.
        commands = b"".join([append.commands for append in group]) + self._durability.command
        try:
            await connection.send_packed_command(commands)
            first = await _read(connection)
        except (RedisConnectionError, OSError):
            # An idle connection may be found dead only now, for instance after a restart of Redis. Sending once
            # more cannot double anything: the worker knows a request by its id.
            await connection.disconnect(nowait=True)
            await connection.send_packed_command(commands)
            first = await _read(connection)
        failures: list[Exception | None] = []
        pending: _Read | None = first
        for append in group:
            if append.replies == 1:
                value = (pending or await _read(connection)).value
                failures.append(value if isinstance(value, Exception) else None)
            else:
                failures.append(await _outcome(connection, append.replies, pending))
            pending = None
        shortfall = self._durability.shortfall((await _read(connection)).value) if self._durability.command else None
        entries = 0
        for append, failure in zip(group, failures, strict=True):
            refusal = failure or shortfall
            if append.done.done():
                continue
            if refusal is None:
                entries += max(1, append.replies - 2)
                append.done.set_result(None)
            else:
                append.done.set_exception(StoreUnavailableError("redis", describe(refusal)))
        self._metrics.append_seconds.observe(self._clock() - started)
        self._metrics.append_entries.observe(entries)

    def _report(self, error: BaseException | None) -> None:
        """Says when appends begin to fail and when they go again: once each, not once a request."""
        if error is not None and not self._failing:
            log.warning("appends_failing", waiting=len(self._waiting), reason=describe(error))
        elif error is None and self._failing:
            log.info("appends_go_again")
        self._failing = error is not None

    def _refuse_waiting(self, reason: StoreUnavailableError) -> None:
        waiting = list(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        _refuse(waiting, reason)


def _xadd_head(stream: str) -> bytes:
    """An XADD up to its payload. Never with MAXLEN: that would delete what nobody has read yet."""
    name = stream.encode()
    return b"*5\r\n$4\r\nXADD\r\n$%d\r\n%b\r\n$1\r\n*\r\n$%d\r\n%b\r\n" % (len(name), name, len(FIELD), FIELD)


class _Read(NamedTuple):
    """One reply: an entry id, a list of them, or an error that Redis answered with."""

    value: object


async def _read(connection: AbstractConnection) -> _Read:
    try:
        return tuple.__new__(_Read, (await connection.read_response(disable_decoding=True, timeout=math.inf),))
    except (ResponseError, BusyLoadingError) as error:
        return _Read(error)


async def _outcome(connection: AbstractConnection, replies: int, first: _Read | None) -> Exception | None:
    """Reads the replies of one request: None, or why its entries are not in the log."""
    failure: Exception | None = None
    for _ in range(replies):
        read = first or await _read(connection)
        first = None
        results = read.value if isinstance(read.value, list) else [read.value]
        for result in results:
            if isinstance(result, Exception):
                failure = failure or result
    return failure


def _refuse(group: Sequence[_Append], reason: StoreUnavailableError) -> None:
    for append in group:
        if not append.done.done():
            append.done.set_exception(reason)
