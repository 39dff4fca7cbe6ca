"""From the log into ClickHouse while everything is well."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from services.standalone.process import free_port

from .events import lunary_feedback, thumb
from .pipeline import Pipeline, eventually

pytestmark = pytest.mark.integration

RECEIVED = 1_795_316_670_123_456
REQUEST = bytes(range(16))
RUN = "3f0b8a5e-6f1d-4c1e-9b5a-2f6d1c0e7a11"


async def test_what_was_appended_before_the_first_worker_started_is_delivered(pipeline: Pipeline) -> None:
    await pipeline.append(*(pipeline.envelope(thumb(f"t{n}")) for n in range(50)))
    async with pipeline.worker():
        await pipeline.until_empty()
        await pipeline.append(pipeline.envelope(thumb("later")))
        await pipeline.until_empty()
    assert await pipeline.stored() == {**{f"t{n}": 1 for n in range(50)}, "later": 1}


async def only_row(pipeline: Pipeline) -> dict[str, Any]:
    rows = await pipeline.select("SELECT * FROM feedback_events")
    columns = [
        row[0]
        for row in await pipeline.select(
            "SELECT name FROM system.columns WHERE table = 'feedback_events' AND database = currentDatabase() ORDER BY position"
        )
    ]
    assert len(rows) == 1
    return dict(zip(columns, rows[0], strict=True))


async def test_a_langwatch_event_becomes_a_row_with_all_its_columns(pipeline: Pipeline) -> None:
    raw = json.dumps(
        {
            "trace_id": "trace-1",
            "event_type": "thumbs_up_down",
            "metrics": {"vote": -1, "stars": 0},
            "event_details": {"feedback": "no \U0001f44e", "page": None},
            "timestamp": 1616161616161,
            "user_id": "u",
            "thread_id": "th",
            "event_id": "e-1",
        }
    ).encode()
    await pipeline.append(pipeline.envelope(raw, request_id=REQUEST, received_at=RECEIVED, project_id="shop"))
    async with pipeline.worker():
        await pipeline.until_empty()
    row = await only_row(pipeline)
    assert row.pop("entry_id").endswith("-0")
    assert row.pop("dedupe_id") > 0
    assert row == {
        "project_id": "shop",
        "source": "langwatch",
        "trace_id": "trace-1",
        "key_time": datetime(1970, 1, 1, tzinfo=UTC),
        "event_type": "thumbs_up_down",
        "timestamp": datetime(2021, 3, 19, 13, 46, 56, 161000, tzinfo=UTC),
        "time_status": "client",
        "received_at": datetime(2026, 11, 22, 3, 4, 30, 123456, tzinfo=UTC),
        "version": RECEIVED << 64 | int.from_bytes(REQUEST[:6]) >> 4 << 20,
        "vote": -1.0,
        "comment": "no \U0001f44e",
        "metrics": {"vote": -1.0, "stars": 0.0},
        "details": {"feedback": "no \U0001f44e", "page": None},
        "user_id": "u",
        "thread_id": "th",
        "event_id": "e-1",
        "request_id": UUID(bytes=REQUEST),
        "event_index": 0,
        "raw": raw.decode(),
        "replayed": False,
    }


async def test_a_lunary_patch_becomes_a_row_with_all_its_columns(pipeline: Pipeline) -> None:
    raw = lunary_feedback(
        RUN.upper(), {"thumb": "up", "rating": 4}, timestamp="2026-11-22T03:04:05.678Z", userId="u", parentRunId="th"
    )
    await pipeline.append(pipeline.envelope(raw, request_id=REQUEST, received_at=RECEIVED, source="lunary"))
    async with pipeline.worker():
        await pipeline.until_empty()
    row = await only_row(pipeline)
    assert row.pop("entry_id").endswith("-0")
    assert row.pop("dedupe_id") > 0
    assert row == {
        "project_id": "p",
        "source": "lunary",
        "trace_id": RUN,
        "key_time": datetime(2026, 11, 22, 3, 4, 5, 678000, tzinfo=UTC),
        "event_type": "feedback",
        "timestamp": datetime(2026, 11, 22, 3, 4, 5, 678000, tzinfo=UTC),
        "time_status": "client",
        "received_at": datetime(2026, 11, 22, 3, 4, 30, 123456, tzinfo=UTC),
        "version": RECEIVED << 64 | int.from_bytes(REQUEST[:6]) >> 4 << 20,
        "vote": 1.0,
        "comment": None,
        "metrics": {"rating": 4.0},
        "details": {"rating": "4"},
        "user_id": "u",
        "thread_id": "th",
        "event_id": None,
        "request_id": UUID(bytes=REQUEST),
        "event_index": 0,
        "raw": raw.decode(),
        "replayed": False,
    }


async def test_settled_entries_leave_neither_entry_nor_pending_nor_consumer(pipeline: Pipeline) -> None:
    async with pipeline.worker():
        await pipeline.append(*(pipeline.envelope(thumb(f"t{n}")) for n in range(10)))
        await pipeline.until_empty()
        assert (await pipeline.log()).pending == 0
        assert len(await pipeline.consumers()) == 1
    assert await pipeline.consumers() == []


@pytest.mark.parametrize(
    "settings",
    [{}, {"worker_window": 0}, {"worker_batch_rows": 1}, {"worker_window": 0, "worker_batch_rows": 1}],
    ids=["all layers", "no window", "nothing to dedupe in a batch", "the table alone"],
)
async def test_no_layer_of_deduplication_changes_an_answer(pipeline: Pipeline, settings: dict[str, Any]) -> None:
    sent_again = thumb("sent-again", 1, timestamp=1616161616161)
    once = pipeline.envelope(thumb("once", 1))
    corrected = [
        pipeline.envelope(thumb("corrected", vote, event_id="e"), received_at=RECEIVED + n)
        for n, vote in enumerate((1, 0, -1))
    ]
    async with pipeline.worker(**settings):
        # The same request appended again is a redelivery; the same event in other requests a retransmission.
        await pipeline.append(once, *(pipeline.envelope(sent_again) for _ in range(3)), once, *corrected)
        await pipeline.until_empty()
        await pipeline.append(corrected[0], pipeline.envelope(sent_again), once)
        await pipeline.until_empty()

    async def answers() -> list[Any]:
        return [
            await pipeline.stored(),
            await pipeline.select("SELECT trace_id, vote, events FROM feedback_current ORDER BY trace_id"),
            await pipeline.select("SELECT vote FROM feedback_events FINAL WHERE trace_id = 'corrected'"),
        ]

    expected = [
        {"once": 1, "sent-again": 1, "corrected": 1},
        [("corrected", -1.0, 1), ("once", 1.0, 1), ("sent-again", 1.0, 1)],
        [(-1.0,)],
    ]
    assert await answers() == expected
    for table in ("feedback_events", "feedback_by_trace"):
        await pipeline.command(f"OPTIMIZE TABLE {table} FINAL")
    assert await answers() == expected
    assert await pipeline.select("SELECT count() FROM feedback_events") == [(3,)]


async def test_the_window_spares_the_work_of_a_redelivery(pipeline: Pipeline) -> None:
    request = pipeline.envelope(thumb("t"))
    async with pipeline.worker():
        for _ in range(3):
            await pipeline.append(request)
            await pipeline.until_empty()
    assert await pipeline.select("SELECT count() FROM feedback_events") == [(1,)]


async def test_a_replay_goes_round_the_window(pipeline: Pipeline) -> None:
    request = pipeline.envelope(thumb("t"))
    async with pipeline.worker():
        await pipeline.append(request)
        await pipeline.until_empty()
        await pipeline.command("TRUNCATE TABLE feedback_events")
        await pipeline.append(pipeline.envelope(thumb("t"), request_id=request.request_id, replayed=True))
        await pipeline.until_empty()
    assert await pipeline.stored() == {"t": 1}


async def test_the_delay_is_that_of_live_feedback(pipeline: Pipeline) -> None:
    port, long_ago = free_port(), time.time_ns() // 1000 - 10**13
    await pipeline.append(pipeline.envelope(thumb("imported"), received_at=long_ago, replayed=True))
    await pipeline.append(pipeline.envelope(thumb("live")))
    async with pipeline.worker(metrics_port=port), httpx.AsyncClient() as http:

        async def metrics() -> str:
            try:
                return (await http.get(f"http://127.0.0.1:{port}/metrics")).text
            except httpx.TransportError:
                return ""

        async def told() -> bool:
            return (await pipeline.log()).length == 0 and "plaudit_delay_seconds_count 1.0" in await metrics()

        await eventually(told)
        lines = (await metrics()).splitlines()
    assert any(line.startswith("plaudit_delay_seconds_bucket") and 'le="60.0"} 1.0' in line for line in lines)
    assert await pipeline.stored() == {"imported": 1, "live": 1}


async def test_large_requests_pass_whatever_their_number(pipeline: Pipeline) -> None:
    comment = "x" * 200_000
    envelopes = [pipeline.envelope(thumb(f"t{n}", event_details={"feedback": comment})) for n in range(60)]
    await pipeline.append(*envelopes)
    async with pipeline.worker(worker_read_bytes=2**20, worker_batch_bytes=2**20):
        await pipeline.until_empty()
    assert len(await pipeline.stored()) == 60


async def test_all_partitions_are_read(redis_url: str, pipeline: Pipeline) -> None:
    pipeline.redis_settings = pipeline.redis_settings.model_copy(update={"stream_partitions": 12})
    from shared.envelope import FIELD, encode
    from shared.streams import partitions

    for number, stream in enumerate(partitions(pipeline.redis_settings)):
        await pipeline.redis.xadd(stream, {FIELD: encode(pipeline.envelope(thumb(f"t{number}")))})
    async with pipeline.worker():
        await pipeline.until_empty()
    assert len(await pipeline.stored()) == 12
