"""The simulation follows the rules that it says it follows, and the chart's defaults come out as documented."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from bench.autoscaling import Autoscaler, Policy, Rates, Scenario, scenarios, simulate

_VALUES = Path(__file__).parents[3] / "deploy" / "helm" / "plaudit" / "values.yaml"
_RATES = Rates(worker=10_000, clickhouse=100_000, entry_bytes=500, worker_bytes=250 << 20)


@pytest.fixture
def policy() -> Policy:
    return Policy.of(yaml.safe_load(_VALUES.read_text()))


def test_it_grows_by_its_policy_and_not_at_once(policy: Policy) -> None:
    autoscaler = Autoscaler(policy)
    assert [autoscaler.look(second, 10**7, 2, 1.0) for second in (0, 15, 30, 45)] == [6, 6, 8, 8]


def test_it_shrinks_only_when_the_window_has_seen_no_need(policy: Policy) -> None:
    autoscaler = Autoscaler(policy)
    autoscaler.look(0, 10**7, 2, 1.0)
    after = {second: autoscaler.look(second, 0, 6, 0.0) for second in range(15, 600, 15)}
    assert after[285] == 6
    assert after[315] < 6
    assert min(after.values()) == policy.least


def test_a_difference_within_the_tolerance_changes_nothing(policy: Policy) -> None:
    autoscaler = Autoscaler(replace(policy, cpu=0))
    assert autoscaler.look(0, policy.least * policy.target * 1.09, 2, 0.0) == policy.least
    assert autoscaler.look(15, policy.least * policy.target * 1.11, 2, 0.0) == policy.least + 1


def test_nothing_that_arrived_is_forgotten(policy: Policy) -> None:
    steady = Scenario("steady", 600, lambda _: 5_000.0, clickhouse=lambda s: 0.0 if s < 300 else 1.0)
    course = simulate(steady, policy, _RATES)
    assert course.backlog[299] == pytest.approx(300 * 5_000)
    assert course.refused == 0
    assert course.lag[-1] == 0.5


def test_a_full_redis_refuses_instead_of_growing(policy: Policy) -> None:
    flood = Scenario("flood", 3600, lambda _: 50_000.0, clickhouse=lambda _: 0.0)
    course = simulate(flood, policy, _RATES)
    assert course.refused > 0
    assert max(course.redis_bytes) < 0.81 * (4 << 30)


def test_the_defaults_keep_up_with_a_ramp_where_the_backlog_alone_swings(policy: Policy) -> None:
    ramp = scenarios(_RATES)[0]
    with_cpu, without = simulate(ramp, policy, _RATES), simulate(ramp, replace(policy, cpu=0), _RATES)
    assert max(with_cpu.lag) < 1
    assert max(without.lag) > 20
    assert with_cpu.changes < without.changes / 3
