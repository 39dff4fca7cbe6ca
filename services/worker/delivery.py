"""The way of one batch: look up → normalize → insert → dead letters → mark → settle. Never in another order.

Whatever dies in between, the entries are still pending in the log, and doing them again changes no answer.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence, Set
from typing import TYPE_CHECKING

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.dead_letters import DeadLetter, DeadLetterBox, letter_id
from shared.envelope import Envelope, RawEvent
from shared.errors import StoreUnavailableError
from shared.storage import describe
from shared.streams import settle

from .batcher import Batch
from .dedupe import RedeliveryWindow
from .entries import Entry, Holdings
from .prepare import Prepared, Unstorable, prepare
from .sink import Backoff, PersistentWriter, Refused
from .spans import BatchSpans, WorkerSpans
from .traces import TraceWriter

if TYPE_CHECKING:
    from shared.telemetry import WorkerMetrics

log = structlog.get_logger()

_SETTLE_COUNT = 1_000
"""Entries in one MULTI. Redis serves nobody else meanwhile: a thousand take it under a millisecond."""


class Delivery:
    """Takes batches from the log into ClickHouse. ``wall_clock``: microseconds since 1970."""

    def __init__(
        self,
        redis: Redis,
        group: str,
        writer: PersistentWriter,
        traces: TraceWriter,
        window: RedeliveryWindow | None,
        dead_letters: DeadLetterBox,
        holdings: Holdings,
        metrics: WorkerMetrics,
        *,
        backoff: Backoff,
        wall_clock: Callable[[], int],
        spans: WorkerSpans,
    ) -> None:
        self._spans = spans
        self._redis = redis
        self._group = group
        self._writer = writer
        self._traces = traces
        self._window = window
        self._dead_letters = dead_letters
        self._holdings = holdings
        self._metrics = metrics
        self._backoff = backoff
        self._wall_clock = wall_clock
        self.settled = 0
        """Entries settled so far."""

    async def deliver(self, batch: Batch) -> None:
        """Returns when every entry is settled, or has been left pending because its dead letters had no place."""
        try:
            with self._spans.batch(batch.entries) as spans:
                await self._deliver(batch.entries, spans)
        finally:
            self._holdings.release(batch.entries)

    async def give_up(self, entry: Entry, reason: str) -> bool:
        """Makes dead letters of a whole entry; False where they find no place, and it is left pending."""
        try:
            with self._spans.batch([entry]) as spans:
                unstorable = _whole(entry, reason)
                unplaced = await self._set_aside(unstorable)
                spans.set_aside(unstorable, unplaced)
                self._count(Counter(), unstorable, unplaced)
                await self._settle([] if unplaced else [entry])
                return not unplaced
        finally:
            self._holdings.release([entry])

    async def _deliver(self, entries: Sequence[Entry], spans: BatchSpans) -> None:
        envelopes = [entry.envelope for entry in entries if entry.envelope]
        fresh = [envelope for envelope in envelopes if not envelope.replayed]
        done = await self._window.done(fresh) if self._window else set()
        # In a thread, so that reading, renewing and health go on while 20,000 events are normalized.
        prepared = await asyncio.to_thread(prepare, entries, done)
        spans.inserting(prepared, done)
        refused = await self._writer.write(prepared.rows, spans.failed)
        spans.inserted()
        await self._traces.write(prepared.traces)
        unstorable = prepared.unstorable + _refused_entries(entries, refused)
        holding_letters = {item.entry.envelope.work_id for item in unstorable if item.entry.envelope}
        unplaced = await self._set_aside(unstorable)
        spans.set_aside(unstorable, unplaced)
        self._count(_stored(prepared, refused), unstorable, unplaced)
        if self._window:
            # What holds a dead letter is never marked: while the letter finds no place, its entry comes back.
            await self._window.mark(envelope for envelope in fresh if envelope.work_id not in holding_letters)
        await self._settle([entry for entry in entries if entry.entry_id not in unplaced])
        self._observe_delay(fresh)

    async def _set_aside(self, unstorable: Sequence[Unstorable]) -> set[bytes]:
        """Puts what cannot be stored into the dead letters; returns the entries that found no place there."""
        if not unstorable:
            return set()
        letters = [_letter(item, self._wall_clock()) for item in unstorable]
        try:
            await self._dead_letters.put(letters)
        except StoreUnavailableError as error:
            log.error("dead_letters_not_kept", letters=len(letters), reason=error.reason)
            return {item.entry.entry_id for item in unstorable}
        # Their reasons may quote what people wrote: those are shown to whoever may see the letters.
        log.warning("dead_letters_kept", letters=len(letters), first=letters[0].id)
        return set()

    async def _settle(self, entries: Sequence[Entry]) -> None:
        """Acknowledges and deletes, for as long as it takes: the rows are stored, only the log does not know yet."""
        by_stream: defaultdict[str, list[bytes]] = defaultdict(list)
        for entry in entries:
            by_stream[entry.stream].append(entry.entry_id)
        for stream, ids in by_stream.items():
            for start in range(0, len(ids), _SETTLE_COUNT):
                await self._settle_chunk(stream, ids[start : start + _SETTLE_COUNT])

    async def _settle_chunk(self, stream: str, ids: list[bytes]) -> None:
        attempt = 0
        while True:
            try:
                await settle(self._redis, stream, self._group, ids)
            except (RedisError, OSError) as error:
                attempt += 1
                delay = self._backoff.delay(attempt)
                log.warning("settle_failed", stream=stream, entries=len(ids), retry_in=delay, reason=describe(error))
                await asyncio.sleep(delay)
            else:
                self._metrics.settled.inc(len(ids))
                self.settled += len(ids)
                return

    def _count(
        self, outcomes: Counter[tuple[str, str]], unstorable: Sequence[Unstorable], unplaced: Set[bytes]
    ) -> None:
        for item in unstorable:
            if item.entry.entry_id not in unplaced:
                source = item.entry.envelope.source if item.entry.envelope else "unknown"
                outcomes[source, "dead_lettered"] += 1
        for (source, outcome), count in outcomes.items():
            self._metrics.events.labels(source, outcome).inc(count)

    def _observe_delay(self, envelopes: Iterable[Envelope]) -> None:
        now = self._wall_clock()
        self._metrics.delay_seconds.observe_many(
            [max(0, now - envelope.received_at) / 1e6 for envelope in envelopes],
        )


def _stored(prepared: Prepared, refused: Sequence[Refused]) -> Counter[tuple[str, str]]:
    """All outcomes but dead letters. An identity is stored once, though its first and last receipt are two rows."""
    outcomes = prepared.outcomes.copy()
    if not refused:
        for source, count in Counter([event.source for event in prepared.rows[: prepared.identities]]).items():
            outcomes[source, "stored"] += count
        return outcomes
    not_stored = {item.event.dedupe_id for item in refused}
    stored = {event.dedupe_id: event.source for event in prepared.rows if event.dedupe_id not in not_stored}
    for source in stored.values():
        outcomes[source, "stored"] += 1
    return outcomes


def _refused_entries(entries: Sequence[Entry], refused: Sequence[Refused]) -> list[Unstorable]:
    """Finds the entry and raw event behind each refused row."""
    if not refused:
        return []
    by_request = {
        (e.envelope.request_id, raw.index): (e, raw) for e in entries if e.envelope for raw in e.envelope.events
    }
    found = []
    for item in refused:
        entry, raw = by_request[item.event.request_id.to_bytes(16, "big"), item.event.event_index]
        found.append(Unstorable(entry, raw, f"clickhouse: {item.reason}"))
    return found


def _whole(entry: Entry, reason: str) -> list[Unstorable]:
    """An entry given up: each event in it, or itself where it is no envelope."""
    if entry.envelope is None:
        return [Unstorable(entry, None, reason)]
    return [Unstorable(entry, event, reason) for event in entry.envelope.events]


def _letter(item: Unstorable, now: int) -> DeadLetter:
    entry = item.entry
    if entry.envelope is None or item.event is None:
        name = f"entry:{entry.stream}:{entry.entry_id.decode()}"
        return DeadLetter(name, item.reason, now, entry.stream, entry.entry_id.decode(), None, entry.payload)
    alone = _alone(entry.envelope, item.event)
    name = letter_id(entry.envelope, item.event.index)
    return DeadLetter(name, item.reason, now, entry.stream, entry.entry_id.decode(), alone)


def _alone(envelope: Envelope, event: RawEvent) -> Envelope:
    """The envelope with just this event: same request, same receipt, so the same identity when it is replayed."""
    return Envelope(
        envelope.project_id,
        envelope.source,
        envelope.request_id,
        envelope.received_at,
        [event],
        envelope.part,
        replayed=True,
        traceparent=envelope.traceparent,
    )
