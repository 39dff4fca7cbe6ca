"""The wall clock of door and workers jumps, forth and back, by seconds and by days."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from services.standalone.process import python_argv

from .conftest import StartStack
from .jumping_clock import set_off
from .load import LoadShape
from .scenario import Scenario

pytestmark = [pytest.mark.chaos, pytest.mark.integration]

JUMPS = [-86_400.0, -3.0, 2.0, 7_200.0]


def test_a_clock_that_jumps_loses_and_doubles_nothing(start_stack: StartStack, scenario: Scenario) -> None:
    clock = scenario.folder / "clock"
    clock.write_bytes(set_off(0.0))
    stack = start_stack(workers=1, started=False, env={"PLAUDIT_CHAOS_CLOCK": str(clock)})
    for piece in stack.pieces.values():
        piece.spec = replace(piece.spec, argv=python_argv("tests.chaos.jumping_clock", piece.name.partition("-")[0]))
    stack.start()
    # Which of two deliveries or acts came last is told by the clock that jumps: what stands and holds is not judged.
    load = stack.load(LoadShape(), scenario.seed)
    file = os.open(clock, os.O_WRONLY)
    for _, seconds in zip(scenario.moments(load, len(JUMPS)), scenario.random.sample(JUMPS, len(JUMPS)), strict=True):
        os.pwrite(file, set_off(seconds), 0)
    os.close(file)
    scenario.judge(stack, load, told_by_the_clock={"wrong", "current_wrong"})
