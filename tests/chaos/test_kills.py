"""kill -9 of any process at any moment, again and again, under load."""

from __future__ import annotations

import pytest

from .conftest import StartStack
from .load import LoadShape
from .scenario import Scenario

pytestmark = [pytest.mark.chaos, pytest.mark.integration]


@pytest.mark.parametrize("kind", ["worker", "ingest", "redis", "clickhouse"])
def test_kill_9_again_and_again_loses_and_doubles_nothing(
    kind: str, start_stack: StartStack, scenario: Scenario
) -> None:
    stack = start_stack(workers=2)
    victims = [name for name in (*stack.pieces, "redis", "clickhouse") if name.startswith(kind)]
    load = stack.load(LoadShape(), scenario.seed)
    for _ in scenario.moments(load, 4):
        victim = scenario.random.choice(victims)
        stack.kill(victim)
        scenario.pause(0, 0.3)
        stack.revive(victim)
        if victim.startswith("ingest"):
            # Killed again before it took a request, it would prove nothing.
            stack.pieces[victim].wait_ready()
    scenario.judge(stack, load)


def test_all_processes_killed_at_once_lose_and_double_nothing(start_stack: StartStack, scenario: Scenario) -> None:
    stack = start_stack(workers=2)
    names = [*stack.pieces, "redis", "clickhouse"]
    load = stack.load(LoadShape(), scenario.seed)
    for _ in scenario.moments(load, 2, 0.8, 1.5):
        for name in scenario.random.sample(names, len(names)):
            stack.kill(name)
        for name in ("redis", "clickhouse", *stack.pieces):
            stack.revive(name)
        for piece in stack.pieces.values():
            piece.wait_ready()
    scenario.judge(stack, load)
