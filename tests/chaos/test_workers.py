"""Several workers: zombies, the same duplicate in two hands, poison among the good, and a rolling restart."""

from __future__ import annotations

import time

import pytest

from shared.envelope import FIELD, Envelope, RawEvent, encode
from shared.storage import connect

from .balancer import Balancer
from .clickhouse_proxy import ClickHouseProxy, Slow
from .conftest import StartStack
from .load import LoadShape
from .scenario import Scenario
from .stack import Servers

pytestmark = [pytest.mark.chaos, pytest.mark.integration]


def test_a_zombie_that_acknowledges_late_doubles_nothing(
    servers: Servers, start_stack: StartStack, scenario: Scenario
) -> None:
    with ClickHouseProxy(servers.clickhouse_port) as proxy:
        # Inserts take their time, so that it is stopped with a batch in hand.
        proxy.fault = Slow(0.4)
        stack = start_stack(workers=2, clickhouse_port=proxy.port)
        load = stack.load(LoadShape(), scenario.seed)
        for _ in scenario.moments(load, 2, 0.5, 1.0):
            stack.pause("worker-1")
            # Well beyond the idle time: the other one has claimed and done what it held.
            time.sleep(3.0)
            stack.resume("worker-1")
        proxy.fault = None
        scenario.judge(stack, load)
    assert '"event": "entries_claimed"' in stack.logs()


def test_half_of_it_duplicates_and_a_third_corrections_come_out_exact(
    start_stack: StartStack, scenario: Scenario
) -> None:
    stack = start_stack(workers=2)
    shape = LoadShape(events=3_000, rate=1_000, duplicates=0.5, corrections=0.33, undo=0.2)
    scenario.judge(stack, stack.load(shape, scenario.seed))


def test_two_workers_on_the_same_duplicate_at_the_same_moment_count_it_once(
    servers: Servers, start_stack: StartStack, scenario: Scenario
) -> None:
    count = 60
    # Each takes one entry at a time, so that neighbours are in different hands.
    one = {f"PLAUDIT_WORKER_{name}": "1" for name in ("READ_COUNT", "BATCH_ROWS", "BATCHES_IN_FLIGHT")}
    stack = start_stack(workers=2, env=one)
    for worker in stack.workers:
        worker.pause()
    for number in range(count):
        envelope = _envelope(scenario, b'{"trace_id":"twin-%d","event_type":"twin","metrics":{}}' % number)
        for _ in range(2):
            stack.append({FIELD: encode(envelope)})
    for worker in stack.workers:
        worker.resume()
    stack.wait_drained()
    took = [stack.metric(worker, "plaudit_worker_settled_total") for worker in stack.workers]
    assert min(took) > count / 10, took
    client = connect(servers.database)
    standing = client.query("SELECT count(), uniqExact(trace_id) FROM feedback_events FINAL").result_rows[0]
    current = client.query("SELECT count(), sum(events) FROM feedback_current").result_rows[0]
    client.close()
    assert standing == (count, count)
    assert current == (count, count)


def test_poison_in_the_middle_of_good_ones_stops_nothing_and_is_kept(
    start_stack: StartStack, scenario: Scenario
) -> None:
    poison = [
        {FIELD: b"\xc1 no MessagePack"},
        {b"data": b'"what FastStream would unwrap"'},
        {FIELD: encode(Envelope("p", "nobody", bytes(16), 1, [RawEvent(0, b"{}")]))},
        {FIELD: encode(_envelope(scenario, b'{"trace_id": not JSON'))},
        {FIELD: encode(_envelope(scenario, b"[" * 100_000))},
        # No door mints it and no column holds it: the client cannot encode the row.
        {FIELD: encode(_envelope(scenario, b'{"trace_id":"t","event_type":"e","metrics":{}}', received_at=2**64 - 1))},
    ]
    stack = start_stack(workers=2)
    load = stack.load(LoadShape(), scenario.seed)
    for _ in scenario.moments(load, 2):
        for fields in scenario.random.sample(poison, len(poison)):
            stack.append(fields)
    # Entries are known by their place in the log, events by their request: those of the second round are the same.
    scenario.judge(stack, load, dead_letters=len(poison) + 2)
    assert sum(b"clickhouse: " in letter for letter in stack.letters()) == 1


def test_a_rolling_restart_under_load_answers_no_request_with_an_error(
    start_stack: StartStack, scenario: Scenario
) -> None:
    stack = start_stack(workers=3, doors=2, env={"PLAUDIT_INGEST_DRAIN_DELAY": "1.0"})
    with Balancer(stack.door_ports) as balancer:
        balancer.wait_ready()
        load = stack.load(LoadShape(), scenario.seed, balancer.url)
        for piece in [*stack.doors, *stack.workers]:
            scenario.pause(0.1, 0.4)
            piece.terminate()
            assert piece.wait_stopped() == 0
            piece.start()
            piece.wait_ready()
            balancer.wait_ready()
        stack.fault_ended()
        load.finish()
        sent = load.wait()
        assert set(sent["statuses"]) == {"200"}, sent["statuses"]
        scenario.judge(stack, load)


def _envelope(scenario: Scenario, raw: bytes, received_at: int = 1_795_316_670_000_000) -> Envelope:
    request_id = scenario.random.randbytes(16)
    return Envelope("chaos", "langwatch", request_id, received_at, [RawEvent(0, raw)])
