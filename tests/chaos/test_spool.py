"""Intake through an outage of Redis: to the spool before the 200, into the log when Redis is back."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import StartStack
from .load import LoadShape
from .scenario import Scenario

pytestmark = [pytest.mark.chaos, pytest.mark.integration]


def test_with_a_spool_an_outage_of_redis_refuses_nobody(start_stack: StartStack, scenario: Scenario) -> None:
    stack = start_stack(workers=1, spool=True)
    load = stack.load(LoadShape(), scenario.seed)
    for _ in scenario.moments(load, 2):
        stack.kill("redis")
        scenario.pause(1.0, 2.0)
        stack.revive("redis")
    statuses = load.wait()["statuses"]
    assert set(statuses) == {"200"}, statuses
    stack.wait_spool_empty()
    scenario.judge(stack, load)
    assert '"event": "spool_replayed"' in stack.logs()


def test_a_door_killed_with_requests_in_its_spool_loses_none_of_them(
    start_stack: StartStack, scenario: Scenario
) -> None:
    stack = start_stack(workers=1, spool=True)
    load = stack.load(LoadShape(), scenario.seed)
    for _ in scenario.moments(load, 1):
        stack.kill("redis")
        scenario.pause(0.8, 1.2)
        stack.kill("ingest-1")
        # The spool of the dead has a new owner before Redis is back.
        stack.revive("ingest-1")
        stack.pieces["ingest-1"].wait_logged('"event": "spool_adopted"')
        stack.revive("redis")
    stack.wait_spool_empty()
    scenario.judge(stack, load)


def test_a_full_disk_under_the_spool_is_an_honest_refusal(
    start_stack: StartStack, scenario: Scenario, small_disk: Path
) -> None:
    stack = start_stack(workers=1, spool=True, env={"PLAUDIT_INGEST_SPOOL_DIR": str(small_disk)})
    load = stack.load(LoadShape(rate=1000), scenario.seed)
    for _ in scenario.moments(load, 1):
        stack.kill("redis")
        deadline = time.monotonic() + 15
        while '"event": "spool_refuses"' not in stack.logs():
            assert time.monotonic() < deadline, "the disk was never full"
            time.sleep(0.1)
        stack.revive("redis")
    stack.wait_spool_empty()
    assert load.wait()["statuses"].get("503", 0) > 0
    scenario.judge(stack, load)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 512 KiB where it can be mounted. Elsewhere one that is as full by the setting of the spool."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = (
        sys.platform == "linux"
        and os.geteuid() == 0
        and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
        == 0
    )
    if not mounted:
        pytest.skip("a small disk can only be mounted by root on Linux; the spool's own limit has unit tests")
    yield folder
    # Services that hold files there are gone only when the stack is.
    with contextlib.suppress(subprocess.SubprocessError):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
