"""Intake through a Redis outage: what the log does not take goes to the spool before the 200, into the log later."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import structlog

from shared.envelope import Envelope, decode, encode
from shared.errors import EnvelopeError, StoreUnavailableError
from shared.storage import describe

from .publisher import Appender
from .spool import Record, Spool, SpoolFullError, read

if TYPE_CHECKING:
    from shared.telemetry import IngestMetrics

log = structlog.get_logger()

_REPLAY_AT_ONCE = 200
"""Records on their way into the log together: a few groups of the publisher."""


class _Waiting(NamedTuple):
    record: Record
    done: asyncio.Future[None]


class SpoolingAppender:
    """An Appender that falls back on a spool. Start ``run`` before the first append.

    After a failed append everything goes straight to the spool, so that nobody waits for an absent server, until the
    replay gets through again; ``retry`` seconds lie between its attempts. The order in which events reach the log does
    not matter: identity and version go by the receipt that each already has. ``note`` is told, in the request's own
    context, that it was spooled.
    """

    def __init__(
        self,
        appender: Appender,
        spool: Spool,
        metrics: IngestMetrics,
        *,
        note: Callable[[str], None] | None = None,
        retry: float = 0.5,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._log = appender
        self._spool = spool
        self._metrics = metrics
        self._note = note
        self._retry = retry
        self._sleep = sleep
        self._waiting: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._disk = asyncio.Lock()
        self._diverted = False
        self._spooling = 0

    @property
    def diverted(self) -> bool:
        """Whether requests go to the spool at present."""
        return self._diverted

    async def append(self, envelopes: Sequence[Envelope]) -> None:
        """See Appender. An append whose answer was lost is spooled under the same request_id."""
        if not self._diverted:
            try:
                await self._log.append(envelopes)
            except StoreUnavailableError as error:
                if not self._diverted:
                    log.warning("intake_diverted_to_spool", reason=error.reason)
                    self._diverted = True
            else:
                return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting([encode(envelope) for envelope in envelopes], done))
        self._wake.set()
        self._spooling += 1
        try:
            await done
        finally:
            self._spooling -= 1
        if self._note is not None:
            self._note("spooled")

    async def run(self) -> None:
        """Writes and replays for ever; cancel to stop. What waits then is refused; the rest stays on the disk."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write())
                tasks.create_task(self._replay())
        finally:
            for waiting in self._waiting:
                if not waiting.done.done():
                    waiting.done.set_exception(StoreUnavailableError("spool", "the door is closing"))
            self._waiting.clear()

    async def _write(self) -> None:
        """Requests that came while one group was being fsynced are the next group."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            group, self._waiting = self._waiting, []
            failure: StoreUnavailableError | None = None
            try:
                async with self._disk:
                    await asyncio.to_thread(self._spool.append, [waiting.record for waiting in group])
            except SpoolFullError as error:
                log.error("spool_refuses", requests=len(group), held=error.held, reason=error.reason)
                failure = StoreUnavailableError("spool", error.reason)
            for waiting in group:
                if waiting.done.done():
                    continue
                if failure:
                    waiting.done.set_exception(failure)
                else:
                    waiting.done.set_result(None)
            if not failure:
                self._metrics.spooled.inc(len(group))
            self._metrics.spool_bytes.set(self._spool.held)

    async def _replay(self) -> None:
        while True:
            if not self._spool.empty:
                try:
                    await self._replay_all()
                except StoreUnavailableError as error:
                    log.debug("replay_waits", reason=error.reason)
                except OSError as error:
                    # A disk that cannot be read now: the door goes on, and so do its attempts.
                    log.error("spool_not_read", reason=describe(error))
            elif self._diverted and not self._spooling:
                # Nothing to try the log with, since the spool took nothing: the next request will.
                self._open()
            await self._sleep(self._retry)

    async def _replay_all(self) -> None:
        """Raises StoreUnavailableError at the first append that the log does not take; nothing is lost by that."""
        replayed = 0
        while segment := await self._oldest():
            records = read(segment)
            while chunk := await asyncio.to_thread(lambda: list(itertools.islice(records, _REPLAY_AT_ONCE))):  # noqa: B023
                results = await asyncio.gather(*map(self._append_record, chunk), return_exceptions=True)
                for result in results:
                    if isinstance(result, BaseException):
                        raise result
                replayed += len(chunk)
                self._open()
            async with self._disk:
                await asyncio.to_thread(self._spool.remove, segment)
            self._metrics.spool_bytes.set(self._spool.held)
        if replayed:
            self._metrics.replayed.inc(replayed)
            log.info("spool_replayed", requests=replayed)

    async def _oldest(self) -> Path | None:
        async with self._disk:
            return await asyncio.to_thread(self._spool.oldest)

    async def _append_record(self, record: Record) -> None:
        try:
            envelopes = [decode(payload) for payload in record]
        except EnvelopeError as error:
            # Its checksum was right, so a later release wrote it: it needs that release to be read.
            raise StoreUnavailableError("spool", f"a record of another release: {error.reason}") from error
        await self._log.append(envelopes)

    def _open(self) -> None:
        if self._diverted:
            self._diverted = False
            log.info("intake_direct_again")
