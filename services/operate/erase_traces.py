"""The part of an erasure that is about traces: which ids are one, and what was learnt of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.cluster import EVERYWHERE, Layout
from shared.erasures import ErasureKind

from .literals import lists, pair

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_BEFORE = "project_id = {project:String} AND learnt_at < toDateTime64({before:String}, 6, 'UTC')"

# All ids of the traces that go by one of the ids given: what these stand for, and whatever stands for that.
_ROOTS = """
SELECT g.source, if(a.root = '', g.id, a.root) AS root
FROM (SELECT given.1 AS source, given.2 AS id FROM (SELECT arrayJoin([{listed}]) AS given)) AS g
LEFT ANY JOIN (
    SELECT source, alias, argMax(trace_id, learnt_at) AS root FROM trace_aliases
    WHERE project_id = {{project:String}} AND (source, alias) IN [{listed}] GROUP BY source, alias
) AS a ON a.source = g.source AND a.alias = g.id
"""
_ALIASES = """
SELECT DISTINCT source, alias FROM trace_aliases_by_trace
WHERE project_id = {{project:String}} AND (source, trace_id) IN [{listed}]
"""
_WITH_FEEDBACK = """
SELECT DISTINCT source, trace_id FROM feedback_by_trace
WHERE project_id = {{project:String}} AND (source, trace_id) IN [{listed}]
"""
_OF_USER = f"SELECT DISTINCT source, trace_id FROM trace_attributes WHERE {_BEFORE} AND user_id = {{name:String}}"  # noqa: S608

_COLUMNS = {
    "trace_attributes": ("trace_id",),
    "trace_aliases": ("trace_id", "alias"),
    "trace_aliases_by_trace": ("trace_id", "alias"),
}


class TraceId(NamedTuple):
    """A trace's id as one vendor's clients send it."""

    source: str
    id: str


def ids_of(client: Client, project: str, given: Iterable[TraceId]) -> set[TraceId]:
    """``given``, and all other ids under which the same traces are known."""
    found = set(given)
    roots = _ask(client, _ROOTS, project, found)
    return found | roots | _ask(client, _ALIASES, project, roots)


class TraceEraser:
    """``parameters``: project, name and before; see the erasure. ``settings``: of its mutations."""

    def __init__(
        self,
        client: Client,
        layout: Layout,
        kind: ErasureKind,
        parameters: dict[str, Any],
        settings: dict[str, str | int],
    ) -> None:
        self._client = client
        self._layout = layout
        self._kind = kind
        self._parameters = parameters
        self._settings = settings
        self._known: set[TraceId] = set()

    def delete(self, traces: Iterable[TraceId]) -> dict[str, int]:
        """What is known of these traces, and of those whose record names the person; returns the rows by table.

        Which ids are one trace is kept while others have judged it: it tells nothing of the person.
        """
        self._known |= set(traces) | self._of_user()
        alone = self._known if self._kind is ErasureKind.TRACE else self._known - self._judged_by_others()
        deleted: dict[str, int] = {}
        for table in _COLUMNS:
            for condition in _conditions(table, self._known if table == "trace_attributes" else alone):
                count = self._count(table, condition)
                if count:
                    deleted[table] = deleted.get(table, 0) + count
                    self._client.command(
                        f"ALTER TABLE {self._layout.own(table)} DELETE WHERE {_BEFORE} AND {condition}",
                        self._parameters,
                        settings=self._settings,
                    )
        return deleted

    def left(self) -> dict[str, int]:
        """Rows by table that should have gone."""
        self._known |= self._of_user()
        alone = self._known if self._kind is ErasureKind.TRACE else self._known - self._judged_by_others()
        return {
            table: sum(
                self._count(table, condition)
                for condition in _conditions(table, self._known if table == "trace_attributes" else alone)
            )
            for table in _COLUMNS
        }

    def _of_user(self) -> set[TraceId]:
        if self._kind is not ErasureKind.USER:
            return set()
        rows = self._client.query(_OF_USER, self._parameters, settings=EVERYWHERE).result_rows
        return ids_of(self._client, self._parameters["project"], (TraceId(*row) for row in rows))

    def _judged_by_others(self) -> set[TraceId]:
        project = self._parameters["project"]
        return ids_of(self._client, project, _ask(self._client, _WITH_FEEDBACK, project, self._known))

    def _count(self, table: str, condition: str) -> int:
        sql = f"SELECT count() FROM {table} WHERE {_BEFORE} AND {condition}"  # noqa: S608 -- names of this file
        return int(self._client.query(sql, self._parameters, settings=EVERYWHERE).result_rows[0][0])


def _ask(client: Client, sql: str, project: str, ids: Iterable[TraceId]) -> set[TraceId]:
    found: set[TraceId] = set()
    for listed in lists(sorted(ids), pair):
        rows = client.query(sql.format(listed=listed), {"project": project}, settings=EVERYWHERE).result_rows
        found.update(TraceId(*row) for row in rows)
    return found


def _conditions(table: str, ids: Iterable[TraceId]) -> Iterator[str]:
    for listed in lists(sorted(ids), pair):
        yield "(" + " OR ".join(f"(source, {column}) IN [{listed}]" for column in _COLUMNS[table]) + ")"
