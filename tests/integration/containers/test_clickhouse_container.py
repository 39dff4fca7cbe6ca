"""The tables and inserts on the real ClickHouse server, where its image can be had."""

from __future__ import annotations

import uuid

import pytest

from services.operate.doctor import _examine_clickhouse
from services.worker.sink import EventSink
from shared.events import Receipt
from shared.formats import NORMALIZERS
from shared.settings import ClickHouseSettings
from shared.storage import connect

pytestmark = [pytest.mark.containers, pytest.mark.integration]


def test_migrations_inserts_and_reads_are_the_same_on_the_real_server(real_clickhouse: ClickHouseSettings) -> None:
    receipt = Receipt(
        project_id="p",
        source="langwatch",
        request_id=uuid.uuid4().bytes,
        received_at=1_795_316_670_000_000,
        entry_id="",
    )
    raw = b'{"trace_id":"t","event_type":"thumbs_up_down","metrics":{"vote":1},"timestamp":1617981376000}'
    event = NORMALIZERS["langwatch"](receipt, 0, raw)
    assert event is not None
    sink = EventSink(real_clickhouse, clock=lambda: 0.0)
    for _ in range(3):
        sink.insert([event])
    sink.close()
    client = connect(real_clickhouse)
    assert client.query("SELECT count() FROM feedback_events FINAL").result_rows == [(1,)]
    assert client.query("SELECT vote, events FROM feedback_current").result_rows == [(1.0, 1)]
    client.close()
    assert all(finding.level == "ok" for finding in _examine_clickhouse(real_clickhouse))
