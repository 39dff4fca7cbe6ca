"""What ClickHouse takes: blocks that were encoded before the clock started."""

from __future__ import annotations

import time
from typing import Any

from bench.drains import Drain, empty_tables
from services.worker.entries import read_entry
from services.worker.prepare import prepare
from shared.storage import COLUMN_TYPES, EVENTS_TABLE, INSERT_SETTINGS, connect, known_settings

_ROWS = 20_000
_BLOCKS = 6


def insert_ready_blocks(drain: Drain) -> dict[str, Any]:
    """Rows of the drain's own backlog, as the worker's inserts bring them, one insert after the other."""
    wanted = _ROWS * _BLOCKS * drain.entries // max(1, drain.events)
    found: Any = drain.backlog.redis.xrange(drain.template, count=max(1, wanted))
    rows = prepare([read_entry("bench", entry_id, fields) for entry_id, fields in found], set()).rows
    empty_tables(drain.stage)
    client = connect(drain.stage.clickhouse)
    blocks = [_encoded(client, rows[start : start + _ROWS]) for start in range(0, len(rows), _ROWS)]
    settings = known_settings(client, INSERT_SETTINGS)
    started = time.perf_counter()
    for block in blocks:
        client.raw_insert(EVENTS_TABLE, list(COLUMN_TYPES), block, settings=settings, fmt="Native")
    seconds = time.perf_counter() - started
    client.close()
    return {"rows_per_second": len(rows) / seconds, "rows": len(rows), "bytes": sum(map(len, blocks))}


def _encoded(client: Any, rows: list[Any]) -> bytes:
    context = client.create_insert_context(
        EVENTS_TABLE,
        list(COLUMN_TYPES),
        column_type_names=list(COLUMN_TYPES.values()),
        column_oriented=True,
        data=list(zip(*rows, strict=True)),
    )
    context.compression = None
    block = b"".join(client._transform.build_insert(context))  # noqa: SLF001 -- encoding without sending has no other name
    return block.partition(b"FORMAT Native\n")[2]
