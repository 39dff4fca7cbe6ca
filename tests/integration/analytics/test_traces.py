"""What is known of a trace breaks its feedback down, whichever of its ids the feedback named."""

from __future__ import annotations

import time
from typing import Any

from redis.asyncio import Redis

from services.worker.traces import LearntTrace, TraceSink
from shared.formats.lunary_runs import python_run_id
from shared.relay_state import RelayReport, tell
from shared.traces import TraceRecord

from .conftest import PROJECT, Site, Store

_NOON = 1_763_467_200.0
_AROUND = {"from": "2025-11-18T00:00:00Z", "to": "2025-11-19T00:00:00Z"}
_KEY = "11111111-2222-4333-8444-555555555555"


def _learn(store: Store, *records: TraceRecord) -> None:
    sink = TraceSink(store.settings, time.monotonic)
    for _ in range(2):
        sink.insert([LearntTrace(PROJECT, record, round(_NOON * 1e6)) for record in records])


async def _groups(site: Site, by: str) -> dict[Any, tuple[int, int]]:
    told = await site.get("/api/breakdown", **_AROUND, by=by)
    return {group["value"]: (group["up"], group["down"]) for group in told["groups"]}


async def test_satisfaction_breaks_down_by_what_is_known_of_the_trace(store: Store, site: Site) -> None:
    alias = python_run_id("m1", _KEY)
    store.lunary("m1", {"thumb": "up"}, _NOON)
    store.lunary(alias, {"thumb": "down"}, _NOON + 60)
    store.lunary("m2", {"thumb": "up"}, _NOON)
    store.langwatch("unknown", 1, _NOON)
    _learn(
        store,
        TraceRecord("lunary", alias, alias_of="m1", user_id="ada"),
        TraceRecord("lunary", alias, model="gpt-5", version="3"),
        TraceRecord("lunary", "m2", model="small", name="bot"),
        TraceRecord("langwatch", "m1", model="another vendor's"),
    )
    store.refresh()
    assert await _groups(site, "model") == {"gpt-5": (0, 1), "small": (1, 0), None: (1, 0)}
    assert await _groups(site, "version") == {"3": (0, 1), None: (2, 0)}
    assert await _groups(site, "run") == {"bot": (1, 0), None: (1, 1)}
    assert await _groups(site, "user") == {"ada": (0, 1), None: (2, 0)}


async def test_an_alias_that_is_learnt_late_joins_what_is_stored(store: Store, site: Site) -> None:
    alias = python_run_id("m1", _KEY)
    store.lunary("m1", {"thumb": "up"}, _NOON)
    store.lunary(alias, {"thumb": "down"}, _NOON + 60)
    store.refresh()
    totals = (await site.get("/api/summary", **_AROUND))["totals"]
    assert (totals["traces"], totals["up"], totals["down"]) == (2, 1, 1)
    _learn(store, TraceRecord("lunary", alias, alias_of="m1"))
    store.refresh()
    totals = (await site.get("/api/summary", **_AROUND))["totals"]
    assert (totals["traces"], totals["up"], totals["down"], totals["events"]) == (1, 0, 1, 2)
    for name in ("m1", alias):
        story = await site.get(f"/api/traces/{name}")
        assert (story["current"]["vote"], len(story["events"])) == (-1.0, 2)


async def test_the_pipeline_tells_how_the_relays_fare(store: Store, site: Site, redis_url: str) -> None:
    assert (await site.get("/api/pipeline"))["relays"] == []
    now = time.time()
    async with Redis.from_url(redis_url) as redis:
        await tell(redis, "a", [RelayReport("lunary", 1, 10, 2, open=False)], now)
        await tell(redis, "b", [RelayReport("lunary", 2, 20, 3, open=True)], now)
        await tell(redis, "gone", [RelayReport("langwatch", 9, 9, 9, open=True)], now - 60)
    state = await site.get("/api/pipeline")
    assert state["relays"] == [{"source": "lunary", "queued": 3, "relayed": 30, "dropped": 5, "open": True}]
    assert any("lunary does not answer" in problem for problem in state["problems"])
