"""``plaudit erase``: a person's feedback, or a trace's, gone from everywhere, verified by counting.

First the tombstone: from then on workers drop what was received before, whether it waits in the log, in a spool or in
their hands. Then the tables and the dead letters. What an insert brought in meanwhile is looked for until the workers
must have learnt of the tombstone.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec
import structlog

from shared.cluster import EVERYWHERE, Layout
from shared.dead_letters import DeadLetter, DeadLetterBox
from shared.envelope import RawEvent
from shared.erasures import TABLE, TRUSTED_FOR, ErasureKind, name_hash
from shared.errors import EnvelopeError, MalformedJSONError
from shared.events import Source
from shared.formats.nodejson import loads
from shared.settings import ClickHouseSettings, RedisSettings
from shared.storage import connect as connect_clickhouse
from shared.streams import connect as connect_redis
from shared.traces import TRACES, unpack

from .erase_traces import TraceEraser, TraceId, ids_of
from .literals import lists, pair, quoted

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

log = structlog.get_logger()

_IDS_AT_ONCE = 2_000
_LEARNT_AFTER = TRUSTED_FOR + 3.0
"""Seconds after which every worker knows of a tombstone, and a refresh that had read before has been written."""

_SETTINGS: dict[str, str | int] = {"mutations_sync": 2, "async_insert": 0, "max_execution_time": 0, **EVERYWHERE}
_TABLES = ("feedback_events", "feedback_by_trace", "feedback_resolved")

Report = Callable[[str], None]
T = TypeVar("T")


@dataclass(slots=True)
class Erased:
    """What was done. ``deleted``: rows by table, deliveries and superseded rows included. ``left``: rows found when it
    was over, 0 everywhere unless something is wrong. ``before``: feedback received later is kept (ISO 8601).
    ``ids``: under how many ids the trace was known; 0 for a person.
    """

    project: str
    kind: str
    before: str
    events: int = 0
    ids: int = 0
    deleted: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    dead_letters: int = 0

    @property
    def complete(self) -> bool:
        return not any(self.left.values())

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"complete": self.complete}


class _Identity(NamedTuple):
    source: str
    trace_id: str
    dedupe_id: int


async def erase(
    redis_settings: RedisSettings,
    clickhouse: ClickHouseSettings,
    project: str,
    kind: ErasureKind,
    name: str,
    *,
    report: Report,
    settle_for: float = _LEARNT_AFTER,
) -> Erased:
    """``report`` is told of every step. ``settle_for``: seconds to go on looking after the tombstone.

    Raises StoreUnavailableError, ClickHouseError or RedisError; run again, it begins anew and does the rest.
    """
    client = await asyncio.to_thread(connect_clickhouse, clickhouse)
    redis = connect_redis(redis_settings)
    try:
        before = await asyncio.to_thread(_server_now, client)
        await asyncio.to_thread(_bury, client, project, kind, [name], before)
        done = Erased(project, kind.value, before)
        log.info("erasure_requested", project=project, kind=kind.value, before=before)
        target = _Target(client, Layout.of(clickhouse), project, kind, name, before)
        deadline = time.monotonic() + settle_for
        while True:
            await asyncio.to_thread(target.delete, done, report)
            if time.monotonic() >= deadline:
                break
            report("waiting for what is under way")
            await asyncio.sleep(min(2.0, settle_for))
        done.dead_letters = await _forget_letters(DeadLetterBox(redis), project, target.names)
        done.left = await asyncio.to_thread(target.left)
    finally:
        client.close()
        await redis.aclose()
    log.info("erasure_done", project=project, kind=kind.value, events=done.events, complete=done.complete)
    return done


def _server_now(client: Client) -> str:
    return str(client.query("SELECT toString(now64(6, 'UTC'))").result_rows[0][0])


def _bury(client: Client, project: str, kind: ErasureKind, names: Sequence[str], before: str) -> None:
    """Writes the tombstones."""
    for hashes in lists((name_hash(project, kind, name) for name in names), quoted):
        client.command(
            f"INSERT INTO {TABLE} (project_id, kind, name_hash, requested_at) "
            f"SELECT {{project:String}}, {{kind:String}}, arrayJoin([{hashes}]), "
            "toDateTime64({before:String}, 6, 'UTC')",
            {"project": project, "kind": kind.value, "before": before},
            settings=_SETTINGS,
        )


class _Target:
    """The identities to erase: all of which any delivery names the person or trace, whatever a later one says, and a
    trace by whichever of its ids.
    """

    def __init__(self, client: Client, layout: Layout, project: str, kind: ErasureKind, name: str, before: str) -> None:
        self._client = client
        self._layout = layout
        self._kind = kind
        self._parameters = {"project": project, "name": name, "before": before}
        self._known: set[_Identity] = set()
        self._ids = {TraceId(source, name) for source in Source} if kind is ErasureKind.TRACE else set[TraceId]()
        self._traces = TraceEraser(client, layout, kind, self._parameters, _SETTINGS)
        self.names = {name}

    def delete(self, done: Erased, report: Report) -> None:
        """One pass: what the tables hold now, and what earlier passes found."""
        self._learn_ids()
        self._known |= self._find()
        # An event may be known under two ids of its trace.
        done.events = len({identity.dedupe_id for identity in self._known})
        done.ids = len({one.id for one in self._ids})
        self._delete_feedback(done, report)
        # After the feedback: of a person's traces, those that others have judged stay one.
        for table, count in self._traces.delete(self._ids).items():
            report(f"{table}: {count:,} rows")
            done.deleted[table] = done.deleted.get(table, 0) + count

    def _learn_ids(self) -> None:
        """Of a trace, all its ids have tombstones: what is under way may name it by any of them."""
        self._ids = ids_of(self._client, self._parameters["project"], self._ids)
        names = {one.id for one in self._ids}
        if new := sorted(names - self.names):
            _bury(self._client, self._parameters["project"], self._kind, new, self._parameters["before"])
            self.names |= names

    def _delete_feedback(self, done: Erased, report: Report) -> None:
        for lot in _lots(sorted(self._known)):
            ids = [identity.dedupe_id for identity in lot]
            for table in _TABLES:
                found = self._count(table, ids)
                if found:
                    report(f"{table}: {found:,} rows")
                    self._delete(table, ids)
                    done.deleted[table] = done.deleted.get(table, 0) + found
            # Others may have spoken on the same traces: what decides them is to be found anew.
            self._touch(lot)

    def left(self) -> dict[str, int]:
        found = self._known | self._find()
        ids = sorted(identity.dedupe_id for identity in found)
        lots = [ids[start : start + _IDS_AT_ONCE] for start in range(0, len(ids), _IDS_AT_ONCE)]
        return {table: sum(self._count(table, lot) for lot in lots) for table in _TABLES} | self._traces.left()

    def _find(self) -> set[_Identity]:
        found: set[_Identity] = set()
        for table in ("feedback_events", "feedback_resolved"):
            for named in self._conditions():
                rows = self._client.query(
                    f"SELECT DISTINCT source, trace_id, dedupe_id FROM {table} "  # noqa: S608 -- names of this file
                    f"WHERE project_id = {{project:String}} AND {named} "
                    "AND received_at < toDateTime64({before:String}, 6, 'UTC')",
                    self._parameters,
                ).result_rows
                found.update(_Identity(*row) for row in rows)
        return found

    def _conditions(self) -> Iterator[str]:
        if self._kind is ErasureKind.USER:
            yield "user_id = {name:String}"
            return
        for listed in lists(sorted(self._ids), pair):
            yield f"(source, trace_id) IN [{listed}]"

    def _count(self, table: str, ids: Sequence[int]) -> int:
        rows = self._client.query(
            f"SELECT count() FROM {table} WHERE {_condition(ids)}",  # noqa: S608 -- numbers
            self._parameters,
        ).result_rows
        return int(rows[0][0])

    def _delete(self, table: str, ids: Sequence[int]) -> None:
        # Not the light-weight delete: that only hides rows until a merge.
        self._client.command(
            f"ALTER TABLE {self._layout.own(table)} DELETE WHERE {_condition(ids)}",
            self._parameters,
            settings=_SETTINGS,
        )

    def _touch(self, lot: Sequence[_Identity]) -> None:
        for listed in lists(sorted({(identity.source, identity.trace_id) for identity in lot}), pair):
            self._client.command(
                "INSERT INTO feedback_changes (inserted_at, project_id, source, trace_id) "  # noqa: S608 -- quoted
                f"SELECT now64(6, 'UTC'), {{project:String}}, t.1, t.2 FROM (SELECT arrayJoin([{listed}]) AS t)",
                self._parameters,
                settings=_SETTINGS,
            )


def _condition(ids: Sequence[int]) -> str:
    listed = ", ".join(f"toUInt128('{number}')" for number in ids)
    return f"project_id = {{project:String}} AND dedupe_id IN ({listed})"


def _lots(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _IDS_AT_ONCE):
        yield items[start : start + _IDS_AT_ONCE]


async def _forget_letters(box: DeadLetterBox, project: str, names: Set[str]) -> int:
    """Removes the dead letters that name the person or trace; returns how many. Of what nobody can read, those that
    hold the name as a JSON text: rather one too many than a person's words kept.
    """
    doomed = [
        letter.id
        async for letter in box.all()
        if letter.envelope is not None and letter.project_id == project and _names(letter, names)
    ]
    return await box.remove(doomed)


def _names(letter: DeadLetter, names: Set[str]) -> bool:
    assert letter.envelope is not None
    lower = {name.lower() for name in names}
    return any(
        _tells(event, lower) if letter.envelope.source == TRACES else _says(event, names, lower)
        for event in letter.envelope.events
    )


def _says(event: RawEvent, names: Set[str], lower: Set[str]) -> bool:
    try:
        return _holds(loads(event.raw), lower)
    except MalformedJSONError:
        spelt = [json.dumps(name, ensure_ascii=escaped) for name in names for escaped in (False, True)]
        return any(text.encode() in event.raw for text in spelt)


def _tells(piece: RawEvent, lower: Set[str]) -> bool:
    """Whether records of traces name it."""
    try:
        return _holds([msgspec.to_builtins(record) for record in unpack(piece)], lower)
    except EnvelopeError:
        return any(name.encode() in piece.raw for name in lower)


def _holds(value: Any, lower: Set[str]) -> bool:
    """Whether any text in a JSON value is one of the names; Lunary's ids are compared without regard to case."""
    if isinstance(value, str):
        return value.lower() in lower
    if isinstance(value, dict):
        return any(_holds(inner, lower) for inner in value.values())
    return isinstance(value, list | tuple) and any(_holds(inner, lower) for inner in value)
