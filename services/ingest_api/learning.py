"""Learning from what passes: ids that belong together, and slim records of traces, on their way into the log.

Beside the requests, never in their way: what is learnt gathers for a moment and is appended in the background. What
the log does not take waits, bounded; what is lost by a crash is that moment's.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import structlog

from shared.errors import StoreUnavailableError
from shared.formats import lunary_runs, otlp_traces
from shared.formats.lunary_runs import RunHead, RunRecord
from shared.traces import TRACES, TraceRecord, pack

from .minting import Minter, envelopes
from .publisher import Appender

if TYPE_CHECKING:
    from shared.formats.otlp import Span
    from shared.telemetry import IngestMetrics

log = structlog.get_logger()

Home = Callable[[str | None], str | None]
"""From the project or key that an event names to its project; None where it may not."""


class Learner:
    """known, waiting: records remembered so that they are not told again, and records that wait, at most. pause:
    seconds between appends. metadata_names: the keys of metadata that may be kept.
    """

    def __init__(
        self,
        appender: Appender,
        minter: Minter,
        metrics: IngestMetrics,
        *,
        metadata_names: Sequence[str],
        part_bytes: int,
        known: int,
        waiting: int,
        pause: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._appender = appender
        self._minter = minter
        self._metrics = metrics
        self._metadata_names = metadata_names
        self._part_bytes = part_bytes
        self._known_limit = known
        self._waiting_limit = waiting
        self._pause = pause
        self._sleep = sleep
        self._known: OrderedDict[tuple[str, TraceRecord], None] = OrderedDict()
        self._waiting: list[tuple[str, TraceRecord]] = []

    def read_runs(self, heads: Iterable[RunHead], token: str) -> list[RunRecord]:
        """What the events of a request tell. Changes nothing here, so it may be called in a thread."""
        return lunary_runs.records(heads, token, self._metadata_names)

    def learn_runs(self, records: Iterable[RunRecord], home: Home) -> None:
        """Takes what ``read_runs`` gave."""
        for record, app_id in records:
            project_id = home(app_id)
            if project_id is not None:
                self._learn(project_id, record)

    def learn_spans(self, spans: Iterable[Span], project_id: str) -> None:
        """Takes what spans tell of their traces."""
        for record in otlp_traces.records(spans, self._metadata_names):
            self._learn(project_id, record)

    async def run(self) -> None:
        """Appends for ever; cancel to stop. What waits then is appended first, if the log takes it at once."""
        try:
            while True:
                await self._sleep(self._pause)
                await self._append()
        finally:
            await self._append()

    def _learn(self, project_id: str, record: TraceRecord) -> None:
        fact = (project_id, record)
        if fact in self._known:
            return
        if len(self._waiting) >= self._waiting_limit:
            self._metrics.learnt.labels("dropped").inc()
            return
        self._known[fact] = None
        if len(self._known) > self._known_limit:
            self._known.popitem(last=False)
        self._waiting.append(fact)

    async def _append(self) -> None:
        facts, self._waiting = self._waiting, []
        if not facts:
            return
        by_project: dict[str, list[TraceRecord]] = {}
        for project_id, record in facts:
            by_project.setdefault(project_id, []).append(record)
        pieces = [(project_id, piece) for project_id, records in by_project.items() for piece in pack(records)]
        try:
            await self._appender.append(envelopes(self._minter(), TRACES, pieces, self._part_bytes))
        except StoreUnavailableError as error:
            log.debug("learnt_waits", records=len(facts), reason=error.reason)
            self._waiting = facts + self._waiting
        else:
            self._metrics.learnt.labels("appended").inc(len(facts))
