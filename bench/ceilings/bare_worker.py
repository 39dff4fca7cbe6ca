"""The least that a worker could do: read, decode, insert columns, acknowledge, each step in turn. No checks, no
identity, no dedupe, nothing claimed, nothing retried; what it cannot read ends it.

python -m bench.ceilings.bare_worker STREAM GROUP ENTRIES; servers from PLAUDIT_REDIS_URL and PLAUDIT_CLICKHOUSE_URL.
"""

from __future__ import annotations

import gc
import sys
import time
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from redis import Redis

from shared.settings import ClickHouseSettings, RedisSettings
from shared.storage import COLUMN_TYPES, EVENTS_TABLE, INSERT_SETTINGS, connect, known_settings


class _LangWatch(msgspec.Struct, gc=False):
    trace_id: str
    event_type: str
    metrics: dict[str, float]
    event_details: dict[str, str | None] = {}
    timestamp: float | None = None
    event_id: str | None = None
    user_id: Any = None
    thread_id: Any = None


class _Lunary(msgspec.Struct, gc=False, rename="camel"):
    run_id: str = ""
    timestamp: float | str | None = None
    feedback: dict[str, Any] | None = None
    user_id: str | None = None
    parent_run_id: str | None = None


class _Event(msgspec.Struct, array_like=True, gc=False):
    index: int
    raw: bytes


class _Envelope(msgspec.Struct, array_like=True, gc=False):
    project_id: str
    source: str
    request_id: bytes
    received_at: int
    events: list[_Event]


_read_envelope = msgspec.msgpack.Decoder(_Envelope).decode
_read_langwatch = msgspec.json.Decoder(_LangWatch, strict=False).decode
_read_lunary = msgspec.json.Decoder(_Lunary, strict=False).decode
_VOTES = {"up": 1.0, "down": -1.0}


def _langwatch_row(envelope: _Envelope, event: _Event, entry_id: str) -> tuple[Any, ...]:
    said = _read_langwatch(event.raw)
    at = int(said.timestamp * 1000) if said.timestamp is not None else envelope.received_at
    at = min(at, 4_102_444_800_000_000)
    version = int.from_bytes(envelope.request_id, "big") + event.index
    return (
        envelope.project_id,
        envelope.source,
        said.trace_id,
        version,
        at,
        said.event_type,
        at,
        0,
        envelope.received_at,
        version,
        said.metrics.get("vote"),
        said.event_details.get("feedback"),
        said.metrics,
        said.event_details,
        None,
        None,
        said.event_id,
        UUID(bytes=envelope.request_id),
        event.index,
        entry_id,
        event.raw,
        False,
    )


def _lunary_row(envelope: _Envelope, event: _Event, entry_id: str) -> tuple[Any, ...]:
    said = _read_lunary(event.raw)
    at = envelope.received_at
    if isinstance(said.timestamp, str):
        at = int(datetime.fromisoformat(said.timestamp).timestamp() * 1e6)
    elif said.timestamp is not None:
        at = int(said.timestamp * 1000)
    at = min(at, 4_102_444_800_000_000)
    feedback = said.feedback or {}
    version = int.from_bytes(envelope.request_id, "big") + event.index
    return (
        envelope.project_id,
        envelope.source,
        said.run_id,
        version,
        at,
        "feedback",
        at,
        0,
        envelope.received_at,
        version,
        _VOTES.get(feedback.get("thumb", "")),
        feedback.get("comment"),
        {},
        {},
        said.user_id,
        said.parent_run_id,
        None,
        UUID(bytes=envelope.request_id),
        event.index,
        entry_id,
        event.raw,
        False,
    )


def drain(stream: str, group: str, entries: int, count: int = 20_000) -> None:
    """Until so many entries are acknowledged; then waits to be stopped."""
    redis = Redis.from_url(RedisSettings().redis_url.get_secret_value(), protocol=2)
    client = connect(ClickHouseSettings())
    settings = known_settings(client, INSERT_SETTINGS)
    names, types = list(COLUMN_TYPES), list(COLUMN_TYPES.values())
    rows_of = {"langwatch": _langwatch_row, "lunary": _lunary_row}
    # What is loaded at the first insert is loaded before anything is measured.
    client.insert(EVENTS_TABLE, [[] for _ in names], names, column_type_names=types, column_oriented=True)
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    left = entries
    while left > 0:
        reply: Any = redis.xreadgroup(group, "bare", {stream: ">"}, count=count, block=1000)
        if not reply:
            continue
        read = reply[0][1]
        rows = []
        for entry_id, fields in read:
            envelope = _read_envelope(fields[b"envelope"])
            row_of = rows_of[envelope.source]
            name = entry_id.decode()
            rows += [row_of(envelope, event, name) for event in envelope.events]
        client.insert(
            EVENTS_TABLE,
            list(zip(*rows, strict=True)),
            names,
            column_type_names=types,
            column_oriented=True,
            settings=settings,
        )
        redis.xack(stream, group, *[entry_id for entry_id, _ in read])
        left -= len(read)
    time.sleep(3600)


if __name__ == "__main__":
    drain(sys.argv[1], sys.argv[2], int(sys.argv[3]))
