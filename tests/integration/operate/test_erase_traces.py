"""Erasing a person or a trace takes what was learnt of traces with it, and what is under way does not come back."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client

from services.operate.erase_traces import count_traces, delete_traces
from services.worker.traces import LearntTrace, TraceSink
from shared.erasures import ErasureKind, name_hash
from shared.settings import ClickHouseSettings
from shared.storage import connect
from shared.traces import TraceRecord

pytestmark = pytest.mark.integration

_SETTINGS: dict[str, str | int] = {"mutations_sync": 2}


@pytest.fixture
def client(database: ClickHouseSettings) -> Iterator[Client]:
    found = connect(database)
    yield found
    found.close()


def _learn(database: ClickHouseSettings, project: str, *records: TraceRecord) -> None:
    sink = TraceSink(database, time.monotonic)
    sink.insert([LearntTrace(project, record, time.time_ns() // 1000 - 10_000_000) for record in records])


def _parameters(name: str) -> dict[str, str]:
    return {"project": "p", "name": name, "before": "2030-01-01 00:00:00.000000"}


def _left(client: Client, table: str) -> list[tuple[str, str]]:
    return [tuple(row) for row in client.query(f"SELECT project_id, trace_id FROM {table} ORDER BY ALL").result_rows]


def test_a_persons_traces_go_in_their_own_project_only(database: ClickHouseSettings, client: Client) -> None:
    ada, bob = TraceRecord("lunary", "a", user_id="ada"), TraceRecord("lunary", "b", user_id="bob")
    _learn(database, "p", ada, bob)
    _learn(database, "q", ada)
    parameters = _parameters("ada")
    assert delete_traces(client, ErasureKind.USER, parameters, _SETTINGS) == {"trace_attributes": 1}
    assert count_traces(client, ErasureKind.USER, parameters) == {"trace_attributes": 0}
    assert _left(client, "trace_attributes") == [("p", "b"), ("q", "a")]


def test_a_trace_goes_with_its_aliases(database: ClickHouseSettings, client: Client) -> None:
    _learn(
        database,
        "p",
        TraceRecord("lunary", "hash", alias_of="m", model="x"),
        TraceRecord("lunary", "m", model="x"),
        TraceRecord("lunary", "other-hash", alias_of="other", model="x"),
    )
    deleted = delete_traces(client, ErasureKind.TRACE, _parameters("m"), _SETTINGS)
    assert deleted == {"trace_attributes": 2, "trace_aliases": 1, "trace_aliases_by_trace": 1}
    assert _left(client, "trace_attributes") == [("p", "other-hash")]
    assert _left(client, "trace_aliases") == _left(client, "trace_aliases_by_trace") == [("p", "other")]


def test_what_was_learnt_before_an_erasure_is_not_inserted_after_it(
    database: ClickHouseSettings, client: Client
) -> None:
    client.command(
        "INSERT INTO erasures (project_id, kind, name_hash, requested_at) SELECT {p:String}, 'user', {h:String}, now64()",
        {"p": "p", "h": name_hash("p", ErasureKind.USER, "ada")},
        settings={"async_insert": 0},
    )
    _learn(database, "p", TraceRecord("lunary", "a", user_id="ada"), TraceRecord("lunary", "b", user_id="bob"))
    assert _left(client, "trace_attributes") == [("p", "b")]
