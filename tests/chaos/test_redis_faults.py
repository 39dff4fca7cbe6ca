"""Redis paused, cut off, restarted, full, and without its groups."""

from __future__ import annotations

import time

import pytest

from services.standalone.embedded import EmbeddedServer

from .conftest import StartStack
from .load import LoadShape
from .proxy import Mode, TcpProxy
from .scenario import Scenario
from .stack import Servers, Stack

pytestmark = [pytest.mark.chaos, pytest.mark.integration]

MIB = 1 << 20


def test_a_redis_that_hangs_loses_and_doubles_nothing(start_stack: StartStack, scenario: Scenario) -> None:
    stack = start_stack(workers=2)
    load = stack.load(LoadShape(), scenario.seed)
    for _ in scenario.moments(load, 2):
        stack.pause("redis")
        # Longer than every time-out of those who wait for it.
        scenario.pause(1.5, 2.5)
        stack.resume("redis")
    scenario.judge(stack, load)


def test_a_redis_that_starts_again_from_its_file_loses_and_doubles_nothing(
    start_stack: StartStack, scenario: Scenario
) -> None:
    stack = start_stack(workers=2)
    load = stack.load(LoadShape(), scenario.seed)
    for _ in scenario.moments(load, 3):
        with stack.redis() as client:
            # Killed in the middle of rewriting its file, or stopped in order.
            client.bgrewriteaof()
        if scenario.random.random() < 0.5:
            stack.kill("redis")
        stack.servers.valkey.restart()
        stack.fault_ended()
    scenario.judge(stack, load)


def test_a_broken_way_to_redis_loses_and_doubles_nothing(
    servers: Servers, start_stack: StartStack, scenario: Scenario
) -> None:
    breaks = [(Mode.CUT, 0.0), (Mode.FREEZE, 0.0), (Mode.LOSE_ANSWERS, 0.0), (Mode.PASS, 0.05)]
    with TcpProxy(servers.redis_port) as proxy:
        stack = start_stack(workers=2, redis_port=proxy.port)
        load = stack.load(LoadShape(), scenario.seed)
        for _ in scenario.moments(load, len(breaks)):
            mode, delay = breaks.pop(scenario.random.randrange(len(breaks)))
            proxy.set(mode, delay=delay)
            scenario.pause(0.5, 1.5)
            proxy.set(Mode.PASS)
            stack.fault_ended()
        scenario.judge(stack, load)
        assert proxy.lost_answers > 0


def test_a_redis_without_its_groups_gets_them_again_and_loses_and_doubles_nothing(
    start_stack: StartStack, scenario: Scenario
) -> None:
    stack = start_stack(workers=2)
    load = stack.load(LoadShape(), scenario.seed)
    for _ in scenario.moments(load, 4):
        stack.destroy_group()
    scenario.judge(stack, load)
    assert '"event": "group_made_again"' in stack.logs()


def test_a_full_redis_refuses_honestly_drains_while_full_and_goes_on(
    start_stack: StartStack, scenario: Scenario
) -> None:
    stack = start_stack(workers=1)
    load = stack.load(LoadShape(rate=1000), scenario.seed)
    stack.pause("worker-1")
    _leave_room(stack.servers.valkey, stack, MIB // 2)
    time.sleep(2.5)
    filled_to = stack.backlog()
    # Nothing that the worker does may need memory: it is still full.
    stack.resume("worker-1")
    load.finish()
    sent = load.wait()
    stack.wait_drained()
    _leave_room(stack.servers.valkey, stack, 64 * MIB)
    assert filled_to > 100
    assert sent["statuses"].get("503", 0) > 0
    again = stack.load(LoadShape(), scenario.seed)
    for _ in scenario.moments(again, 1, 1.0, 1.0):
        pass
    assert set(again.wait()["statuses"]) == {"200"}
    assert not stack.judge(load).faults
    scenario.judge(stack, again)


def _leave_room(server: EmbeddedServer, stack: Stack, room: int) -> None:
    """Sets maxmemory to so many bytes above what is used."""
    assert server.running
    with stack.redis() as client:
        used = int(client.info("memory")["used_memory"])
        client.config_set("maxmemory", used + room)
