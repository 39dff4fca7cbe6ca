"""Judges a run: what must be there by its outcomes, against what is there; in bounded memory, some lanes at a time."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from services.loadgen.compare import Verdict, compare
from services.loadgen.history import Delivery
from services.loadgen.options import OptionsError
from services.loadgen.oracle import TraceExpectation, expect
from services.loadgen.outcomes import OutcomeLog
from services.loadgen.plan import Plan, trace_ranges
from services.loadgen.stored import Store
from services.loadgen.workload import lane_steps

_CHUNK = 40_000
"""Events judged at a time: some hundred megabytes at most."""

_PAUSE = 0.5
_LEAST_LOOKS = 3
"""Events and current feedback are read one after the other; what arrives in between makes them disagree once."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """timeout: seconds, from the start, to wait for what was acknowledged to become visible.

    clock: monotonic seconds. judged: is told how many lanes were judged.
    """

    plan: Plan
    outcomes: OutcomeLog
    store: Store
    timeout: float
    judged: Callable[[int], None]
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def run(self) -> Verdict:
        """Raises OptionsError if the plan no longer gives the requests that were sent."""
        deadline = self.clock() + self.timeout
        verdict = Verdict()
        for first, last in self._chunks():
            verdict.add(self._judge(first, last, deadline))
            self.judged(last - first + 1)
        return verdict

    def _chunks(self) -> Iterator[tuple[int, int]]:
        """First and last lane of each chunk; together they cover all."""
        width = max(1, _CHUNK * self.plan.lanes // max(1, self.plan.events))
        for first in range(0, self.plan.lanes, width):
            yield first, min(first + width, self.plan.lanes) - 1

    def _judge(self, first: int, last: int, deadline: float) -> Verdict:
        expected: dict[tuple[str, str], TraceExpectation] = {}
        for lane in range(first, last + 1):
            expected |= expect(self._deliveries(lane))
        ranges = trace_ranges(self.plan, first, last)
        looks = 0
        while True:
            verdict = compare(expected, self.store.events(ranges), self.store.current(ranges))
            looks += 1
            if verdict.faultless or (self.clock() >= deadline and looks >= _LEAST_LOOKS):
                return verdict
            self.sleep(_PAUSE)

    def _deliveries(self, lane: int) -> Iterator[Delivery]:
        for place, step in enumerate(lane_steps(self.plan, lane)):
            for copy in range(step.copies):
                outcome, received = self.outcomes.result(lane, place, copy)
                checksum = self.outcomes.checksum(lane, place)
                if checksum is not None and checksum != zlib.crc32(step.body):
                    raise OptionsError("the ledger was written by another release: it sent other requests")
                yield Delivery(step.source, step.events, outcome, received)
