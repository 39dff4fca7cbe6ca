"""The part of an erasure that is about traces: what was learnt of them, and which ids were one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shared.erasures import ErasureKind

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_BEFORE = "project_id = {project:String} AND learnt_at < toDateTime64({before:String}, 6, 'UTC')"
_OF_USER = (
    "(source, trace_id) IN (SELECT source, trace_id FROM trace_attributes "
    "WHERE project_id = {project:String} AND user_id = {name:String})"
)
_IDS = (
    "(trace_id = {name:String} OR (source, trace_id) IN (SELECT source, alias FROM trace_aliases "
    "WHERE project_id = {project:String} AND trace_id = {name:String}))"
)
_EITHER = "(trace_id = {name:String} OR alias = {name:String})"

# In this order: the attributes are found by the aliases.
_CONDITIONS: Mapping[ErasureKind, Mapping[str, str]] = {
    ErasureKind.USER: {"trace_attributes": _OF_USER},
    ErasureKind.TRACE: {"trace_attributes": _IDS, "trace_aliases": _EITHER, "trace_aliases_by_trace": _EITHER},
}


def count_traces(client: Client, kind: ErasureKind, parameters: dict[str, Any]) -> dict[str, int]:
    """Rows by table that the erasure is about. ``parameters``: project, name and before."""
    counts = {}
    for table, condition in _CONDITIONS[kind].items():
        sql = f"SELECT count() FROM {table} WHERE {_BEFORE} AND {condition}"  # noqa: S608 -- names of this file
        counts[table] = int(client.query(sql, parameters).result_rows[0][0])
    return counts


def delete_traces(
    client: Client, kind: ErasureKind, parameters: dict[str, Any], settings: dict[str, str | int]
) -> dict[str, int]:
    """Deletes them; returns how many by table."""
    deleted = count_traces(client, kind, parameters)
    for table, condition in _CONDITIONS[kind].items():
        if deleted[table]:
            client.command(f"ALTER TABLE {table} DELETE WHERE {_BEFORE} AND {condition}", parameters, settings=settings)
    return deleted
