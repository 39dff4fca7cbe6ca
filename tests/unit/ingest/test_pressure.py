from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from services.ingest_api.pressure import Pressure, Watermarks
from shared.streams import Backlog
from shared.telemetry import IngestMetrics

NOW = 1_000_000.0
MARKS = Watermarks(backlog=1000, memory=0.8, age=600, resume=0.8, warn=0.9)


@pytest.fixture
def pressure() -> Pressure:
    return Pressure(Redis(), ["s"], "g", MARKS, IngestMetrics(), wall_clock=lambda: NOW)


def look(pressure: Pressure, *, length: int = 0, used: int = 0, age: float | None = None, rate: float = 0) -> Pressure:
    oldest = None if age is None else int((NOW - age) * 1000)
    memory: dict[str, Any] = {"maxmemory": 1000, "used_memory": used}
    pressure.judge(pressure.load(Backlog(length, 0, 1, oldest), memory), rate)
    return pressure


@pytest.mark.parametrize("over", [{"length": 1000}, {"used": 800}, {"age": 600}])
def test_each_limit_refuses_when_it_is_reached(pressure: Pressure, over: dict[str, Any]) -> None:
    assert not look(pressure).refusing
    assert look(pressure, **over).refusing


def test_refusing_ends_only_well_below_the_limit(pressure: Pressure) -> None:
    assert look(pressure, length=1000).refusing
    assert look(pressure, length=801).refusing
    assert not look(pressure, length=799).refusing
    assert not look(pressure, length=999).refusing


def test_a_load_balancer_is_told_before_anything_is_refused(pressure: Pressure) -> None:
    assert look(pressure, length=899).ready
    assert not look(pressure, length=900).ready
    assert not pressure.refusing


def test_retry_after_is_what_the_workers_need_to_get_below(pressure: Pressure) -> None:
    assert look(pressure, length=2000, rate=100).retry_after == 12


@pytest.mark.parametrize(("rate", "expected"), [(1e9, 1), (0.001, 120), (0, 120)])
def test_retry_after_is_bounded(pressure: Pressure, rate: float, expected: int) -> None:
    assert look(pressure, length=2000, rate=rate).retry_after == expected


def test_an_unlimited_redis_and_limits_of_zero_refuse_nothing() -> None:
    off = Pressure(Redis(), ["s"], "g", Watermarks(0, 0, 0, 0.8, 0.9), IngestMetrics(), wall_clock=lambda: NOW)
    off.judge(off.load(Backlog(10**9, 0, 1, 0), {"maxmemory": 0, "used_memory": 10**12}), 0)
    assert off.ready
    assert not off.refusing
