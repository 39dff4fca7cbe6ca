"""What all scenarios have in common: chance that can be repeated, and how one must end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from random import Random

from .load import Judgement, Load
from .stack import Stack

MEANINGFUL = 150
"""Events that must have been acknowledged."""


@dataclass(frozen=True)
class Figures:
    """One scenario in numbers. recovery: seconds from the end of the last fault until the log was empty."""

    name: str
    kills: int
    recovery: float
    judged: Judgement

    def text(self) -> str:
        judged = self.judged
        return (
            f"{self.name:58} accepted {judged.accepted:6} lost {judged.lost} twice {judged.twice} "
            f"wrong {judged.wrong + judged.current_wrong} unanswered {judged.ambiguous_present}+"
            f"{judged.ambiguous_absent} kills {self.kills} recovered in {self.recovery:.1f} s"
        )


class Scenario:
    """``random`` decides moments and victims. ``folder``: for files of its own."""

    def __init__(self, name: str, folder: Path, random: Random, report: Callable[[Figures], None]) -> None:
        self.name = name
        self.folder = folder
        self.random = random
        self._report = report

    @property
    def seed(self) -> int:
        """For the load."""
        return self.random.randrange(1 << 30)

    def pause(self, least: float, most: float) -> None:
        """Waits for a moment of chance, in seconds."""
        time.sleep(self.random.uniform(least, most))

    def wait_for(self, happened: Callable[[], bool], seconds: float = 20.0) -> None:
        """Returns when it has happened."""
        deadline = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < deadline, "what this scenario is about did not happen"
            time.sleep(0.02)

    def moments(self, load: Load, count: int, least: float = 0.3, most: float = 1.0) -> Iterator[None]:
        """So many moments of chance while the load is being sent; a last one, and the load is told to end."""
        for _ in range(count):
            self.pause(least, most)
            assert load.sending, "the load ended before its faults did"
            yield
        self.pause(least, most)
        load.finish()

    def judge(
        self, stack: Stack, load: Load, *, dead_letters: int = 0, told_by_the_clock: Set[str] = frozenset()
    ) -> Judgement:
        """The end of every scenario: all sent, the log empty, nothing pending, everything there once and right, and
        services that stop when they are told to. ``told_by_the_clock``: what the door's clock decides, if it jumps.
        """
        load.wait()
        recovery = stack.wait_drained()
        judged = stack.judge(load)
        self._report(Figures(self.name, stack.kills, recovery, judged))
        faults = {name: count for name, count in judged.faults.items() if name not in told_by_the_clock}
        assert not faults, (faults, judged.samples)
        assert judged.accepted >= MEANINGFUL, "too little was accepted for this to prove anything"
        statuses = stack.stop_doors()
        # A door tells what it learnt of traces every so often, and a last time when it stops.
        stack.wait_drained()
        assert stack.pending() == 0
        assert len(stack.letters()) == dead_letters
        statuses |= stack.stop()
        assert set(statuses.values()) == {0}, statuses
        stopped = [f"-{worker.pid}-" for worker in stack.workers]
        assert not [name for name in stack.consumers() if any(part in name for part in stopped)]
        return judged
