"""``plaudit erase``: a person's feedback, or a trace's, gone from everywhere, verified by counting.

First the tombstone: from then on workers drop what was received before, whether it waits in the log, in a spool or in
their hands. Then the tables and the dead letters. What an insert brought in meanwhile is looked for until the workers
must have learnt of the tombstone.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from shared.dead_letters import DeadLetter, DeadLetterBox
from shared.erasures import TABLE, TRUSTED_FOR, ErasureKind, name_hash
from shared.errors import MalformedJSONError
from shared.formats.nodejson import loads
from shared.settings import ClickHouseSettings, RedisSettings
from shared.storage import connect as connect_clickhouse
from shared.streams import connect as connect_redis

from .erase_traces import count_traces, delete_traces

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

log = structlog.get_logger()

_IDS_AT_ONCE = 4_000
_LEARNT_AFTER = TRUSTED_FOR + 3.0
"""Seconds after which every worker knows of a tombstone, and a refresh that had read before has been written."""

_SETTINGS: dict[str, str | int] = {"mutations_sync": 2, "async_insert": 0, "max_execution_time": 0}
_TABLES = ("feedback_events", "feedback_by_trace", "feedback_resolved")

Report = Callable[[str], None]


@dataclass(slots=True)
class Erased:
    """What was done. ``deleted``: rows by table, deliveries and superseded rows included. ``left``: rows found when it
    was over, 0 everywhere unless something is wrong. ``before``: feedback received later is kept (ISO 8601).
    """

    project: str
    kind: str
    before: str
    events: int = 0
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
        before = await asyncio.to_thread(_bury, client, project, kind, name)
        done = Erased(project, kind.value, before)
        log.info("erasure_requested", project=project, kind=kind.value, before=before)
        target = _Target(client, project, kind, name, before)
        deadline = time.monotonic() + settle_for
        while True:
            await asyncio.to_thread(target.delete, done, report)
            if time.monotonic() >= deadline:
                break
            report("waiting for what is under way")
            await asyncio.sleep(min(2.0, settle_for))
        done.dead_letters = await _forget_letters(DeadLetterBox(redis, 0), project, name)
        done.left = await asyncio.to_thread(target.left)
    finally:
        client.close()
        await redis.aclose()
    log.info("erasure_done", project=project, kind=kind.value, events=done.events, complete=done.complete)
    return done


def _bury(client: Client, project: str, kind: ErasureKind, name: str) -> str:
    """Writes the tombstone; returns its time, of ClickHouse's clock."""
    before = client.query("SELECT toString(now64(6, 'UTC'))").result_rows[0][0]
    row = [project, kind.value, name_hash(project, kind, name)]
    client.command(
        f"INSERT INTO {TABLE} (project_id, kind, name_hash, requested_at) "
        "SELECT {project:String}, {kind:String}, {hash:String}, toDateTime64({before:String}, 6, 'UTC')",
        {"project": row[0], "kind": row[1], "hash": row[2], "before": before},
        settings=_SETTINGS,
    )
    return str(before)


class _Target:
    """The identities to erase: all of which any delivery names the person or trace, whatever a later one says."""

    def __init__(self, client: Client, project: str, kind: ErasureKind, name: str, before: str) -> None:
        self._client = client
        self._kind = kind
        self._parameters = {"project": project, "name": name, "before": before}
        self._known: set[_Identity] = set()

    def delete(self, done: Erased, report: Report) -> None:
        """One pass: what the tables hold now, and what earlier passes found."""
        self._known |= self._find()
        done.events = len(self._known)
        for table, count in delete_traces(self._client, self._kind, self._parameters, _SETTINGS).items():
            done.deleted[table] = done.deleted.get(table, 0) + count
        if not self._known:
            return
        identities = sorted(self._known)
        for lot in _lots(identities):
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
        traces = count_traces(self._client, self._kind, self._parameters)
        return {table: sum(self._count(table, lot) for lot in lots) for table in _TABLES} | traces

    def _find(self) -> set[_Identity]:
        found: set[_Identity] = set()
        for table in ("feedback_events", "feedback_resolved"):
            column = "user_id" if self._kind is ErasureKind.USER else "trace_id"
            rows = self._client.query(
                f"SELECT DISTINCT source, trace_id, dedupe_id FROM {table} "  # noqa: S608 -- names of this file
                f"WHERE project_id = {{project:String}} AND {column} = {{name:String}} "
                "AND received_at < toDateTime64({before:String}, 6, 'UTC')",
                self._parameters,
            ).result_rows
            found.update(_Identity(*row) for row in rows)
        return found

    def _count(self, table: str, ids: Sequence[int]) -> int:
        rows = self._client.query(
            f"SELECT count() FROM {table} WHERE {_condition(ids)}",  # noqa: S608 -- numbers
            self._parameters,
        ).result_rows
        return int(rows[0][0])

    def _delete(self, table: str, ids: Sequence[int]) -> None:
        # Not the light-weight delete: that only hides rows until a merge.
        self._client.command(
            f"ALTER TABLE {table} DELETE WHERE {_condition(ids)}", self._parameters, settings=_SETTINGS
        )

    def _touch(self, lot: Sequence[_Identity]) -> None:
        traces = sorted({(identity.source, identity.trace_id) for identity in lot})
        self._client.command(
            "INSERT INTO feedback_changes (inserted_at, project_id, source, trace_id) "
            "SELECT now64(6, 'UTC'), {project:String}, t.1, t.2 "
            "FROM (SELECT arrayJoin(arrayZip({sources:Array(String)}, {traces:Array(String)})) AS t)",
            {**self._parameters, "sources": [trace[0] for trace in traces], "traces": [trace[1] for trace in traces]},
            settings=_SETTINGS,
        )


def _condition(ids: Sequence[int]) -> str:
    listed = ", ".join(f"toUInt128('{number}')" for number in ids)
    return f"project_id = {{project:String}} AND dedupe_id IN ({listed})"


def _lots(identities: Sequence[_Identity]) -> Iterator[Sequence[_Identity]]:
    for start in range(0, len(identities), _IDS_AT_ONCE):
        yield identities[start : start + _IDS_AT_ONCE]


async def _forget_letters(box: DeadLetterBox, project: str, name: str) -> int:
    """Removes the dead letters that name the person or trace; returns how many. Of what nobody can read, those that
    hold the name as a JSON text: rather one too many than a person's words kept.
    """
    doomed = [
        letter.id
        async for letter in box.all()
        if letter.envelope is not None and letter.project_id == project and _names(letter, name)
    ]
    return await box.remove(doomed)


def _names(letter: DeadLetter, name: str) -> bool:
    assert letter.envelope is not None
    for event in letter.envelope.events:
        try:
            if _holds(loads(event.raw), name):
                return True
        except MalformedJSONError:
            if json.dumps(name).encode() in event.raw or json.dumps(name, ensure_ascii=False).encode() in event.raw:
                return True
    return False


def _holds(value: Any, name: str) -> bool:
    """Whether any text in a JSON value is the name; Lunary's ids are compared without regard to case."""
    if isinstance(value, str):
        return value == name or value.lower() == name.lower()
    if isinstance(value, dict):
        return any(_holds(inner, name) for inner in value.values())
    return isinstance(value, list) and any(_holds(inner, name) for inner in value)
