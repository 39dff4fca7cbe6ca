"""ClickHouse down, slow, refusing for its own reasons, without its table, and answering into the void."""

from __future__ import annotations

import threading
import time

import httpx
import pytest

from shared.storage import connect

from .clickhouse_proxy import ClickHouseProxy, Fault, Hold, LoseAnswer, Refuse, Slow
from .conftest import StartStack
from .load import LoadShape
from .scenario import Scenario
from .stack import Servers

pytestmark = [pytest.mark.chaos, pytest.mark.integration]

ANSWERS: list[Fault] = [
    # Longer than the idle time, and shorter than the time-out of a statement.
    Slow(2.0),
    LoseAnswer(),
    Refuse(252, "TOO_MANY_PARTS"),
    Refuse(164, "READONLY"),
    Refuse(242, "TABLE_IS_READ_ONLY"),
    Refuse(241, "MEMORY_LIMIT_EXCEEDED"),
    Refuse(516, "AUTHENTICATION_FAILED"),
    Refuse(60, "UNKNOWN_TABLE"),
    Refuse(4711, "OF_A_LATER_RELEASE"),
]


def test_a_clickhouse_that_is_down_costs_nothing_but_time(start_stack: StartStack, scenario: Scenario) -> None:
    stack = start_stack(workers=2)
    load = stack.load(LoadShape(), scenario.seed)
    for _ in scenario.moments(load, 1):
        stack.kill("clickhouse")
        # Twice the idle time: what waits is renewed, and nobody claims it from anybody.
        time.sleep(3.5)
        health = {worker.name: _health(worker.spec.env["PLAUDIT_METRICS_PORT"]) for worker in stack.workers}
        door = httpx.get(f"{stack.url}/health/ready").status_code
        stack.revive("clickhouse")
        assert set(health.values()) == {503}
        assert door == 200, "feedback is taken without ClickHouse"
    sent = load.wait()
    assert set(sent["statuses"]) == {"200"}
    scenario.judge(stack, load)
    assert '"event": "circuit_open"' in stack.logs()


def test_whatever_clickhouse_answers_is_no_fault_of_the_events_and_is_counted_once(
    servers: Servers, start_stack: StartStack, scenario: Scenario
) -> None:
    with ClickHouseProxy(servers.clickhouse_port) as proxy:
        stack = start_stack(workers=2, clickhouse_port=proxy.port)
        load = stack.load(LoadShape(), scenario.seed)
        for fault in scenario.random.sample(ANSWERS, len(ANSWERS)):
            met = proxy.met
            proxy.fault = fault
            scenario.pause(0.4, 0.8)
            scenario.wait_for(lambda: proxy.met > met)  # noqa: B023
            proxy.fault = None
            scenario.pause(0.1, 0.4)
        stack.fault_ended()
        load.finish()
        scenario.judge(stack, load)


def test_a_missing_table_costs_nothing_but_time(servers: Servers, start_stack: StartStack, scenario: Scenario) -> None:
    stack = start_stack(workers=2)
    load = stack.load(LoadShape(), scenario.seed)
    for _ in scenario.moments(load, 1):
        client = connect(servers.database)
        client.command("RENAME TABLE feedback_events TO feedback_events_away")
        time.sleep(2.5)
        client.command("RENAME TABLE feedback_events_away TO feedback_events")
        client.close()
        stack.fault_ended()
    scenario.judge(stack, load)
    assert '"fault": "schema"' in stack.logs()


def test_a_worker_killed_while_its_insert_is_on_the_way_loses_nothing(
    servers: Servers, start_stack: StartStack, scenario: Scenario
) -> None:
    with ClickHouseProxy(servers.clickhouse_port) as proxy:
        stack = start_stack(workers=2, clickhouse_port=proxy.port)
        victim = stack.pieces["worker-1"]
        load = stack.load(LoadShape(), scenario.seed)
        for _ in scenario.moments(load, 1):
            released = threading.Event()
            proxy.fault = Hold(released)
            while not stack.metric(victim, "plaudit_worker_batches_in_flight"):
                time.sleep(0.02)
            # Whatever the worker says too early, it has said by now.
            time.sleep(0.3)
            stack.kill(victim.name)
            proxy.fault = None
            released.set()
        # The other one does what it left, since it knows by now what is marked as done.
        stack.wait_drained()
        stack.revive(victim.name)
        victim.wait_ready()
        scenario.judge(stack, load)


def _health(port: str) -> int:
    return httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code
