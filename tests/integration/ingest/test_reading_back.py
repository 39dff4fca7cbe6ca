"""What GET answers of a run, under merges of the tables and for any history: held against a small model."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from services.ingest_api.reader import FeedbackReader
from services.worker.sink import EventSink
from shared.events import Receipt, Source
from shared.formats import NORMALIZERS
from shared.settings import ClickHouseSettings
from shared.storage import connect

pytestmark = pytest.mark.integration

NOW = 1_795_316_670_000_000
"""Microseconds since 1970."""

_SECOND = 1_000_000


class Delivery(NamedTuple):
    """One event in one request. told: the client's time in milliseconds, if any. received: seconds after NOW."""

    feedback: dict[str, Any]
    told: float | None
    received: int


class Bench:
    """The reader on tables of its own, and a way to put deliveries into them as a worker does."""

    def __init__(self, database: ClickHouseSettings) -> None:
        self.client: Client = connect(database)
        self.reader = FeedbackReader(lambda: connect(database), 1, 30)
        self._sink = EventSink(database, lambda: 0.0)
        self._requests = itertools.count(1)

    def deliver(self, run_id: str, deliveries: list[Delivery]) -> None:
        """Each in a request and an insert of its own, in this order."""
        for delivery in deliveries:
            event: dict[str, Any] = {"event": "feedback", "runId": run_id, "feedback": delivery.feedback}
            if delivery.told is not None:
                event["timestamp"] = delivery.told
            receipt = Receipt(
                project_id="p",
                source=Source.LUNARY,
                request_id=(next(self._requests) << 80).to_bytes(16, "big"),
                received_at=NOW + delivery.received * _SECOND,
                entry_id="0-0",
            )
            normalized = NORMALIZERS[Source.LUNARY](receipt, 0, json.dumps(event).encode())
            assert normalized is not None
            self._sink.insert([normalized])

    def merge(self) -> None:
        """What ClickHouse does some time: of each identity only the standing version stays."""
        self.client.command("OPTIMIZE TABLE feedback_events FINAL")
        self.client.command("OPTIMIZE TABLE feedback_by_trace FINAL")


@pytest.fixture
def bench(database: ClickHouseSettings) -> Iterator[Bench]:
    bench = Bench(database)
    yield bench
    bench.reader.close()
    bench.client.close()


async def test_after_a_merge_a_retransmission_still_stands_where_it_was_first_heard_of(bench: Bench) -> None:
    ahead = NOW / 1000 + 3_600_000
    down = Delivery({"thumb": "down", "comment": "first"}, ahead, received=0)
    up = Delivery({"thumb": "up"}, ahead + 1, received=10)
    bench.deliver("run", [down, up, down._replace(received=20)])
    wanted = {"thumb": "up", "comment": "first"}
    assert await bench.reader.feedback("p", "run") == wanted
    bench.merge()
    rows = bench.client.query("SELECT toUnixTimestamp64Micro(received_at) FROM feedback_events ORDER BY 1").result_rows
    assert [row[0] for row in rows] == [NOW + 10 * _SECOND, NOW + 20 * _SECOND], "the merge kept the retransmission"
    assert await bench.reader.feedback("p", "run") == wanted


async def test_after_a_merge_a_correction_says_the_new_and_stands_in_the_old_place(bench: Bench) -> None:
    ahead = NOW / 1000 + 3_600_000
    first = Delivery({"thumb": "down", "a_b": 1}, ahead, received=0)
    corrected = Delivery({"thumb": "up", "a_b": {"c": None}}, ahead, received=20)
    bench.deliver("run", [first, Delivery({"thumb": None}, ahead, received=10), corrected])
    for _ in range(2):
        assert await bench.reader.feedback("p", "run") == {"thumb": None, "aB": {"c": None}}
        bench.merge()


async def test_when_the_raw_json_has_expired_the_columns_tell_the_same(bench: Bench) -> None:
    sent = {"thumb": "down", "comment": "x", "stars": 4.5, "flag": True, "none": None, "tags": ["a"], "note": "t"}
    bench.deliver("run", [Delivery(sent, None, 0)])
    assert await bench.reader.feedback("p", "run") == sent
    bench.client.command("ALTER TABLE feedback_events UPDATE raw = '' WHERE 1 SETTINGS mutations_sync = 2")
    assert await bench.reader.feedback("p", "run") == sent


patches = st.dictionaries(
    st.sampled_from(["thumb", "comment", "rating"]), st.sampled_from([None, "up", "down"]), min_size=1, max_size=2
)
deliveries = st.builds(
    Delivery,
    patches,
    st.none() | st.sampled_from([NOW / 1000 + offset for offset in (-5000, -5000, -1, 0, 1500, 2000, 9e6)]),
    st.just(0),
)
# Receipts differ, so that the model need not know how ties are broken.
histories = st.lists(deliveries, min_size=1, max_size=7).flatmap(
    lambda drawn: st.permutations(range(len(drawn))).map(
        lambda order: [delivery._replace(received=at) for delivery, at in zip(drawn, order, strict=True)]
    )
)


def model(history: list[Delivery]) -> dict[str, Any]:
    """The rule in few words: of one identity the last received stands, where it was first heard of."""
    standing: dict[object, tuple[float, int, Delivery]] = {}
    for delivery in sorted(history, key=lambda delivery: delivery.received):
        identity: object = (delivery.told, tuple(sorted(delivery.feedback)))
        if delivery.told is None:
            identity = delivery.received
        heard = standing[identity][1] if identity in standing else NOW + delivery.received * _SECOND
        told = heard if delivery.told is None else min(delivery.told * 1000, heard)
        standing[identity] = (told, heard, delivery)
    merged: dict[str, Any] = {}
    for _, _, delivery in sorted(standing.values(), key=lambda place: place[:2]):
        merged |= delivery.feedback
    return merged


def test_for_any_history_the_answer_is_the_models_before_and_after_a_merge(database: ClickHouseSettings) -> None:
    bench = Bench(database)
    runs = itertools.count()

    @settings(
        max_examples=40,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(histories, min_size=3, max_size=3), st.booleans())
    def agree(drawn: list[list[Delivery]], is_merged: bool) -> None:
        named = {f"run-{next(runs)}": history for history in drawn}
        for run_id, history in named.items():
            bench.deliver(run_id, history)
        if is_merged:
            bench.merge()
        for run_id, history in named.items():
            assert runner.run(bench.reader.feedback("p", run_id)) == model(history), history

    try:
        with asyncio.Runner() as runner:
            agree()
    finally:
        bench.reader.close()
        bench.client.close()
