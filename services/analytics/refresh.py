"""Keeps ``feedback_resolved`` up: follows the log of changes and writes the traces anew that inserts touched.

What must not happen is that an insert is passed over, and clocks alone cannot tell: an insert is stamped when it
begins and seen when it ends, and its rows reach the tables one after the other. So every insert is taken twice, when
it is first seen and again when no insert can still be under way that began with it; the log is always read back by
more than that. Taking an insert again changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import structlog

from shared.cluster import EVERYWHERE

from . import resolving

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

log = structlog.get_logger()

SETTINGS: dict[str, str | int] = {
    "async_insert": 0,
    # A refresh that is not through within this is begun again, with the same outcome.
    "max_execution_time": 300,
    # The partition is a function of the sorting key, so no event has rows in two of them.
    "do_not_merge_across_partitions_select_final": 1,
    **EVERYWHERE,
}

_MICROS = 1_000_000
_ROWS_AT_ONCE = 50_000
_STAMPS_AT_ONCE = 2_000
_SLICES = 1_000
_BEGINNING, _END = 0, 2**62


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the derived tables are. Microseconds since 1970 by the clock of ClickHouse.

    as_of: everything that was acknowledged before is in them. generation: of the rows that were written last.
    """

    as_of: int
    generation: int


@dataclass(slots=True)
class _Insert:
    """An insert as it was last taken. ``settled``: no rows of it can still be on their way."""

    rows: int
    settled: bool


@dataclass(slots=True)
class Refresher:
    """``settle_after``: seconds after which an insert has ended, one way or another: the writers' own time limit.

    ``log_kept``: seconds that the log of changes is kept. Whoever has been away for longer starts over.
    ``slice_rows``: events that are derived at once where all are; they are held in ClickHouse's memory.
    """

    client: Client
    settle_after: float
    log_kept: float = 6 * 86400.0
    slice_rows: int = 500_000
    _inserts: dict[int, _Insert] = field(default_factory=dict)
    _progress: Progress | None = None

    def refresh(self) -> Progress:
        """Takes in what was inserted since the last time. Raises ClickHouseError or OSError; then nothing is lost."""
        before = self._progress or self._resume()
        now = self._server_now()
        settle = int(self.settle_after * _MICROS)
        # A clock that was set back must not hide what is stamped by it now.
        since = min(before.as_of, now) - 2 * settle
        rows = self.client.query(resolving.INSERTS_SINCE, {"since": since}).result_rows
        due = {stamp: count for stamp, count in rows if self._is_due(stamp, count, now - settle)}
        generation = before.generation
        for stamps in _lots(due):
            generation = self._next_generation(generation)
            changed = {"first": stamps[0], "last": stamps[-1], "stamps": stamps}
            self._rewrite(resolving.CHANGED_BY_INSERTS, changed, generation)
            for stamp in stamps:
                self._inserts[stamp] = _Insert(due[stamp], settled=stamp < now - settle)
        for stamp in [stamp for stamp in self._inserts if stamp < since]:
            del self._inserts[stamp]
        self._progress = Progress(now, generation)
        return self._progress

    def rebuild(self) -> Progress:
        """Writes every trace anew, a slice at a time; inserts and readers go on meanwhile."""
        stored = self._load()
        now = self._server_now()
        generation = stored.generation if stored else 0
        total = self.client.query("SELECT count() FROM feedback_by_trace").result_rows[0][0]
        cuts = [_BEGINNING, *self._cuts(math.ceil(total / self.slice_rows)), _END]
        for since, until in pairwise(cuts):
            generation = self._next_generation(generation)
            self._rewrite(resolving.CHANGED_BY_RECEIPT, {"since": since, "until": until}, generation)
        self._inserts.clear()
        self._progress = Progress(now, generation)
        self.save()
        log.info("resolved_rebuilt", rows=total, slices=len(cuts) - 1)
        return self._progress

    def save(self) -> None:
        """Remembers how far it has come, beside the tables it is about: restored together, they fit together."""
        if self._progress is not None:
            parameters = {"as_of": self._progress.as_of, "generation": self._progress.generation}
            self.client.command(resolving.SAVE_STATE, parameters, settings=SETTINGS)

    def _resume(self) -> Progress:
        stored = self._load()
        if stored is None or stored.as_of < self._server_now() - int(self.log_kept * _MICROS):
            return self.rebuild()
        return stored

    def _load(self) -> Progress | None:
        rows = self.client.query(resolving.LOAD_STATE).result_rows
        return Progress(*rows[0]) if rows else None

    def _server_now(self) -> int:
        return int(self.client.query(resolving.SERVER_NOW).result_rows[0][0])

    def _is_due(self, stamp: int, rows: int, settled_before: int) -> bool:
        known = self._inserts.get(stamp)
        return known is None or known.rows != rows or (not known.settled and stamp < settled_before)

    def _cuts(self, slices: int) -> list[int]:
        """Microseconds since 1970 at which the receipts are cut into so many slices."""
        slices = min(slices, _SLICES)
        if slices < 2:
            return []
        levels = ", ".join(str(number / slices) for number in range(1, slices))
        found = self.client.query(resolving.CUTS.format(levels=levels)).result_rows[0][0]
        return sorted({int(cut) for cut in found})

    def _next_generation(self, last: int) -> int:
        # Taken before the tables are read, so that whoever read later writes the greater one, whichever process it is.
        return max(self._server_now(), last + 1)

    def _rewrite(self, changed: str, parameters: dict[str, object], generation: int) -> None:
        aliases = bool(self.client.query(resolving.ANY_ALIAS).result_rows)
        statement = resolving.rewrite(changed, aliases=aliases)
        self.client.command(statement, {**parameters, "generation": generation}, settings=SETTINGS)
        if self.client.query(resolving.ANY_MOVED, {"generation": generation}).result_rows:
            self.client.command(resolving.RETIRE, {"generation": generation}, settings=SETTINGS)


def _lots(due: dict[int, int]) -> Iterator[list[int]]:
    """The stamps in order, so many at once that their traces fit into memory."""
    lot: list[int] = []
    rows = 0
    for stamp in sorted(due):
        if lot and (rows + due[stamp] > _ROWS_AT_ONCE or len(lot) >= _STAMPS_AT_ONCE):
            yield lot
            lot, rows = [], 0
        lot.append(stamp)
        rows += due[stamp]
    if lot:
        yield lot
