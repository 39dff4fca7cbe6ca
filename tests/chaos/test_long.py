"""The long form: every fault by chance, again and again, for minutes, round by round; ``make chaos``.

``PLAUDIT_CHAOS_MINUTES``: for how long. ``PLAUDIT_CHAOS_REPORT``: where the figures go, as JSON.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
import structlog

from .balancer import Balancer
from .clickhouse_proxy import ClickHouseProxy
from .conftest import SEED, StartStack
from .faults import Harm
from .load import Judgement, LoadShape
from .proxy import TcpProxy
from .scenario import Scenario
from .stack import Servers, Stack

log = structlog.get_logger()

MINUTES = float(os.environ.get("PLAUDIT_CHAOS_MINUTES", "0"))
ROUND_SECONDS = 60.0
CALM = (0.5, 2.0)
SHAPE = LoadShape(events=60_000, rate=500, duplicates=0.25, corrections=0.15)

Faulty = Callable[[], None]

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.integration,
    pytest.mark.long,
    pytest.mark.timeout(MINUTES * 60 * 2 + 300),
    pytest.mark.skipif(not MINUTES, reason="the long form: make chaos"),
]


def test_minutes_of_every_fault_by_chance_lose_and_double_nothing(
    servers: Servers, start_stack: StartStack, scenario: Scenario
) -> None:
    totals: Counter[str] = Counter()
    recoveries: defaultdict[str, list[float]] = defaultdict(list)
    started = time.monotonic()
    with TcpProxy(servers.redis_port) as redis, ClickHouseProxy(servers.clickhouse_port) as clickhouse:
        stack = start_stack(workers=3, doors=2, spool=True, redis_port=redis.port, clickhouse_port=clickhouse.port)
        deck = _shuffled(Harm(stack, redis, clickhouse, scenario.random).all(), scenario.random)
        with Balancer(stack.door_ports) as balancer:
            balancer.wait_ready()
            while time.monotonic() - started < MINUTES * 60:
                judged, sent = _round(stack, deck, scenario, balancer, recoveries)
                totals["rounds"] += 1
                totals["requests"] += sent["requests"]
                totals["answered 200"] += sent["statuses"].get("200", 0)
                for name in ("accepted", "stored", "lost", "twice", "wrong", "current_wrong", "unexpected"):
                    totals[name] += getattr(judged, name)
                totals["unanswered, there"] += judged.ambiguous_present
                totals["unanswered, not there"] += judged.ambiguous_absent
        totals["kills"] = stack.kills
        totals["faults"] = sum(map(len, recoveries.values()))
        totals["dead letters"] = len(stack.letters())
        assert set(stack.stop().values()) == {0}
    _report(totals, recoveries, time.monotonic() - started)
    assert not totals["dead letters"]


def _shuffled(faults: Mapping[str, Faulty], random: Random) -> Iterator[tuple[str, Faulty]]:
    """Every fault once in an order of chance, then again in another."""
    while True:
        yield from random.sample(sorted(faults.items()), len(faults))


def _round(
    stack: Stack,
    deck: Iterator[tuple[str, Faulty]],
    scenario: Scenario,
    balancer: Balancer,
    recoveries: defaultdict[str, list[float]],
) -> tuple[Judgement, dict[str, Any]]:
    """One load from beginning to end, with faults one after another, and its judgement."""
    load = stack.load(SHAPE, scenario.seed, balancer.url)
    started = time.monotonic()
    while time.monotonic() - started < ROUND_SECONDS:
        scenario.pause(*CALM)
        name, do = next(deck)
        before = stack.kills
        do()
        for piece in stack.pieces.values():
            piece.wait_ready()
        # Under load the log is never quite empty: it has recovered when it holds less than a second of it.
        recoveries[name].append(stack.wait_drained(90.0, left=int(SHAPE.rate)))
        log.info("fault", name=name, kills=stack.kills - before, recovered_in=round(recoveries[name][-1], 1))
    load.finish()
    sent = load.wait()
    stack.wait_spool_empty()
    stack.wait_drained()
    judged = stack.judge(load)
    log.info("round", accepted=judged.accepted, **judged.faults)
    assert not judged.faults, (judged.faults, judged.samples)
    assert stack.pending() == 0
    return judged, sent


def _report(totals: Counter[str], recoveries: dict[str, list[float]], seconds: float) -> None:
    report = {
        "seed": SEED,
        "minutes": round(seconds / 60, 1),
        "totals": dict(totals),
        "recovery_seconds": {
            name: {"times": len(each), "median": round(sorted(each)[len(each) // 2], 1), "most": round(max(each), 1)}
            for name, each in sorted(recoveries.items())
        },
    }
    text = json.dumps(report, indent=2)
    log.info("long_run", **report)
    if path := os.environ.get("PLAUDIT_CHAOS_REPORT"):
        Path(path).write_text(text + "\n", encoding="utf-8")
