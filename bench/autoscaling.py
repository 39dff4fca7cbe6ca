"""How the chart's default autoscaling behaves: a simulation of KEDA's and the HPA's rules, fed with measured rates.

python -m bench.autoscaling [--values FILE] [--plot docs/autoscaling.png]   prints JSON

Simulated second by second: arrivals, what the workers that run drain, what ClickHouse takes at most, the length of the
log; every 15 s the horizontal pod autoscaler looks at that length as KEDA hands it on, with its tolerance, policies and
stabilization windows. A pod that was decided on serves half a minute later.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from matplotlib.figure import Figure

_ROOT = Path(__file__).parents[1]
_HPA_PERIOD = 15
_TOLERANCE = 0.1
_POD_START = 30
"""Seconds from the decision until a pod serves: scheduling, an image that is there, the start, the first readiness."""

_BATCH_SECONDS = 0.5
"""What a batch waits: so much lies in the log also when the workers keep up."""

_MIB = 1 << 20
_REDIS_BASE = 50 * _MIB
_REDIS_LIMIT = 4 << 30
_REFUSE_ABOVE = 0.8


@dataclass(frozen=True)
class Rates:
    """Entries a second that one worker drains and that ClickHouse takes in all; bytes of an entry and of a worker."""

    worker: float
    clickhouse: float
    entry_bytes: float
    worker_bytes: float


@dataclass(frozen=True)
class Policy:
    """The chart's values under worker.autoscaling."""

    least: int
    most: int
    target: int
    cpu: float
    up_window: int
    up_pods: int
    up_period: int
    down_window: int
    down_percent: int
    down_period: int

    @classmethod
    def of(cls, values: dict[str, Any]) -> Policy:
        scaling = values["worker"]["autoscaling"]
        up, down = scaling["scaleUp"], scaling["scaleDown"]
        return cls(
            scaling["minReplicas"],
            scaling["maxReplicas"],
            scaling["backlogPerWorker"],
            scaling["targetCPUUtilizationPercentage"] / 100,
            up["stabilizationWindowSeconds"],
            up["pods"],
            up["periodSeconds"],
            down["stabilizationWindowSeconds"],
            down["percent"],
            down["periodSeconds"],
        )


@dataclass(frozen=True)
class Scenario:
    """``arrivals``: entries a second at a second. ``clickhouse``: share of its rate that ClickHouse takes then.
    ``poison``: share of entries whose event no column takes.
    """

    name: str
    seconds: int
    arrivals: Callable[[int], float]
    clickhouse: Callable[[int], float] = lambda _: 1.0
    poison: Callable[[int], float] = lambda _: 0.0


@dataclass
class Course:
    """One value a second."""

    arrivals: list[float] = field(default_factory=list)
    backlog: list[float] = field(default_factory=list)
    lag: list[float] = field(default_factory=list)
    workers: list[int] = field(default_factory=list)
    redis_bytes: list[float] = field(default_factory=list)
    worker_bytes: list[float] = field(default_factory=list)
    refused: float = 0.0
    changes: int = 0

    def summary(self) -> dict[str, float]:
        return {
            "arrived": round(sum(self.arrivals)),
            "refused": round(self.refused),
            "most_backlog": round(max(self.backlog)),
            "most_lag_seconds": round(max(self.lag), 1),
            "lag_at_the_end": round(self.lag[-1], 1),
            "most_workers": max(self.workers),
            "worker_hours": round(sum(self.workers) / 3600, 2),
            "changes_of_workers": self.changes,
            "most_redis_mib": round(max(self.redis_bytes) / _MIB),
        }


class Autoscaler:
    """The rules of autoscaling/v2 for an external metric with an average value and the use of CPU: the greater wins."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._recommended: list[tuple[int, int]] = []
        self._replicas: list[tuple[int, int]] = [(0, policy.least)]
        self.replicas = policy.least

    def look(self, second: int, backlog: float, running: int, busy: float) -> int:
        """``busy``: share of the running workers' CPU that is used."""
        policy, now = self._policy, self.replicas
        wanted = self._by_ratio(now, backlog / (policy.target * now), backlog / policy.target)
        if policy.cpu:
            wanted = max(wanted, self._by_ratio(now, busy / policy.cpu, running * busy / policy.cpu))
        wanted = min(max(wanted, policy.least), policy.most)
        self._recommended.append((second, wanted))
        wanted = min(max(wanted, self._lowest(second, policy.up_window) if wanted > now else wanted), policy.most)
        if wanted > now:
            allowed = self._then(second - policy.up_period) + policy.up_pods
            wanted = min(wanted, max(allowed, now))
        elif wanted < now:
            wanted = min(now, self._highest(second, policy.down_window))
            allowed = math.floor(self._then(second - policy.down_period) * (1 - policy.down_percent / 100))
            wanted = max(wanted, min(allowed, now), policy.least)
        self.replicas = wanted
        self._replicas.append((second, wanted))
        return wanted

    @staticmethod
    def _by_ratio(now: int, ratio: float, wanted: float) -> int:
        return now if abs(ratio - 1) <= _TOLERANCE else math.ceil(wanted)

    def _lowest(self, second: int, window: int) -> int:
        return min(count for at, count in self._recommended if at >= second - window)

    def _highest(self, second: int, window: int) -> int:
        return max(count for at, count in self._recommended if at >= second - window)

    def _then(self, second: int) -> int:
        """How many there were at the start of a policy's period."""
        return next((count for at, count in reversed(self._replicas) if at <= second), self._replicas[0][1])


def simulate(scenario: Scenario, policy: Policy, rates: Rates) -> Course:
    course, autoscaler = Course(), Autoscaler(policy)
    backlog, running = 0.0, policy.least
    starting: list[tuple[int, int]] = []
    for second in range(scenario.seconds):
        arriving = scenario.arrivals(second)
        if _REDIS_BASE + backlog * rates.entry_bytes > _REFUSE_ABOVE * _REDIS_LIMIT:
            course.refused += arriving
            arriving = 0.0
        running = sum(count for ready, count in starting if ready <= second) + running
        starting = [(ready, count) for ready, count in starting if ready > second]
        power = running * rates.worker / poison_cost(scenario.poison(second))
        served = min(backlog + arriving, power, rates.clickhouse * scenario.clickhouse(second))
        backlog = backlog + arriving - served
        waiting = max(backlog, min(arriving, served) * _BATCH_SECONDS)
        if second % _HPA_PERIOD == 0:
            before = running + sum(count for _, count in starting)
            after = autoscaler.look(second, waiting, running, served / power)
            course.changes += after != before
            if after > before:
                starting.append((second + _POD_START, after - before))
            elif after < before:
                starting, running = [], after
        course.arrivals.append(scenario.arrivals(second))
        course.backlog.append(waiting)
        course.lag.append(waiting / served if served > 0 else (course.lag[-1] + 1 if course.lag else 0.0))
        course.workers.append(running)
        course.redis_bytes.append(_REDIS_BASE + waiting * rates.entry_bytes)
        course.worker_bytes.append(running * rates.worker_bytes)
    return course


def poison_cost(share: float, batch: int = 20_000) -> float:
    """How many times as long a batch takes when so many of its rows are refused: each is found by halving, and each
    half is inserted anew. Bounded by what a batch costs whose rows all go alone.
    """
    bad = share * batch
    if bad < 1:
        return 1.0
    levels = math.log2(batch)
    # The first halvings are shared; below them every bad row has its own path, of inserts that hardly hold a row.
    return 1 + min(levels, math.log2(bad) + 1) + bad * max(0.0, levels - math.log2(bad)) * 0.004


def scenarios(rates: Rates) -> list[Scenario]:
    """Sized by what a worker drains, so that they ask the same of any machine."""
    w = rates.worker
    hour = 3600
    return [
        Scenario(
            "ramp: from 0.2 to 5 workers' worth and back",
            2 * hour,
            lambda s: w * (0.2 + 4.8 * math.sin(math.pi * s / (2 * hour))),
        ),
        Scenario("spike: six workers' worth for 5 minutes", hour, lambda s: w * (6.0 if 900 <= s < 1200 else 0.5)),
        Scenario(
            "ClickHouse away for an hour",
            3 * hour,
            lambda _: w * 0.3,
            clickhouse=lambda s: 0.0 if 900 <= s < 900 + hour else 1.0,
        ),
        Scenario(
            "poison: 1 % of events refused for 10 minutes",
            hour,
            lambda _: w * 1.0,
            poison=lambda s: 0.01 if 900 <= s < 1500 else 0.0,
        ),
    ]


def plot(courses: dict[str, Course], path: Path) -> None:
    figure = Figure(figsize=(4.6 * len(courses), 10))
    axes = figure.subplots(4, len(courses), sharex="col", squeeze=False)
    for column, (name, course) in enumerate(courses.items()):
        minutes = [second / 60 for second in range(len(course.lag))]
        rows: list[tuple[str, list[float], str]] = [
            ("arrivals, 1,000 a second", [rate / 1000 for rate in course.arrivals], "#888888"),
            ("lag, seconds", course.lag, "#c44e52"),
            ("workers", [float(count) for count in course.workers], "#4c72b0"),
            ("memory, MiB", [size / _MIB for size in course.redis_bytes], "#55a868"),
        ]
        axes[0][column].set_title(name, fontsize=10)
        for row, (label, values, colour) in enumerate(rows):
            axis = axes[row][column]
            axis.plot(minutes, values, color=colour, linewidth=1.2, label="Redis" if row == len(rows) - 1 else None)
            axis.grid(alpha=0.25)
            if row < len(rows) - 1:
                axis.set_ylim(bottom=0)
            if column == 0:
                axis.set_ylabel(label)
        axes[3][column].plot(
            minutes, [size / _MIB for size in course.worker_bytes], color="#8172b2", linewidth=1.2, label="all workers"
        )
        axes[3][column].set_xlabel("minutes")
        axes[3][column].relim()
        axes[3][column].autoscale_view()
        axes[3][column].set_ylim(bottom=0)
        axes[1][column].set_yscale("symlog", linthresh=1)
        axes[1][column].set_ylim(0, max(10.0, 1.5 * max(course.lag)))
    axes[3][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--values", type=Path, default=_ROOT / "deploy/helm/plaudit/values.yaml")
    parser.add_argument("--rates", type=Path, default=Path(__file__).with_name("service_rates.json"))
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    policy = Policy.of(yaml.safe_load(arguments.values.read_text(encoding="utf-8")))
    measured = json.loads(arguments.rates.read_text(encoding="utf-8"))
    # ClickHouse on its own machine takes more than workers on this one could bring: ten workers' worth is assumed.
    rates = Rates(measured["rate_1"], 10 * measured["rate_1"], measured["entry_bytes"], measured["worker_bytes"])
    courses = {scenario.name: simulate(scenario, policy, rates) for scenario in scenarios(rates)}
    if arguments.plot:
        plot(courses, arguments.plot)
    print(
        json.dumps(
            {"policy": asdict(policy), "rates": asdict(rates)} | {name: c.summary() for name, c in courses.items()},
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
