"""Children are kept running, stopped in order, and never left behind."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from services.standalone import watchdog as watchdog_module
from services.standalone.backoff import Backoff
from services.standalone.process import ProcessSpec
from services.standalone.supervisor import ChildNotReadyError, Supervisor

pytestmark = pytest.mark.integration

STUBBORN = Path(__file__).with_name("stubborn.py")
WATCHDOG = Path(watchdog_module.__file__)


def child(name: str, manner: str, folder: Path, *, stop_order: int = 0, drain_seconds: float = 5.0) -> ProcessSpec:
    log = folder / f"{name}.log"
    return ProcessSpec(
        name=name,
        argv=(sys.executable, str(STUBBORN), manner, str(log)),
        ready=lambda: log.with_suffix(".ready").exists(),
        stop_order=stop_order,
        drain_seconds=drain_seconds,
        ready_seconds=5.0,
    )


async def until(condition: object, seconds: float = 10.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


async def test_a_killed_child_comes_back_and_the_log_says_so(tmp_path: Path) -> None:
    changes: list[dict[str, int]] = []
    supervisor = Supervisor(on_change=changes.append)
    supervisor.start(child("one", "obedient", tmp_path))
    await supervisor.wait_ready("one")
    first = supervisor.pids["one"]
    with capture_logs() as logs:
        os.kill(first, signal.SIGKILL)
        await until(lambda: supervisor.pids.get("one") not in {None, first})
    assert [entry["status"] for entry in logs if entry["event"] == "child_exited"] == ["SIGKILL"]
    assert changes[-1]["one"] == supervisor.pids["one"]
    await supervisor.stop()
    assert supervisor.pids == {}


async def test_a_child_that_dies_at_once_is_restarted_ever_more_slowly(tmp_path: Path) -> None:
    supervisor = Supervisor(make_backoff=lambda: Backoff(random.Random(1)))
    with capture_logs() as logs:
        supervisor.start(child("one", "crash", tmp_path))
        await until(lambda: sum(entry["event"] == "child_exited" for entry in logs) >= 3)
    delays = [entry["restart_in"] for entry in logs if entry["event"] == "child_exited"]
    assert delays[2] > delays[0]
    assert {entry["status"] for entry in logs if entry["event"] == "child_exited"} == {"exit 3"}
    await supervisor.stop()


async def test_a_child_that_never_answers_is_named(tmp_path: Path) -> None:
    spec = child("mute", "obedient", tmp_path)
    supervisor = Supervisor()
    supervisor.start(ProcessSpec("mute", spec.argv, lambda: False, ready_seconds=0.3))
    with pytest.raises(ChildNotReadyError, match="mute"):
        await supervisor.wait_ready("mute")
    await supervisor.stop()


async def test_children_stop_in_their_order(tmp_path: Path) -> None:
    supervisor = Supervisor()
    for order, name in enumerate(["door", "worker", "server"]):
        supervisor.start(child(name, "obedient", tmp_path, stop_order=order))
    await supervisor.wait_ready("door", "worker", "server")
    await supervisor.stop()
    stopped = {name: int((tmp_path / f"{name}.log").read_text().split()[-1]) for name in ["door", "worker", "server"]}
    assert sorted(stopped, key=stopped.__getitem__) == ["door", "worker", "server"]


async def test_a_child_that_does_not_listen_is_killed_after_its_time(tmp_path: Path) -> None:
    supervisor = Supervisor()
    supervisor.start(child("deaf", "deaf", tmp_path, drain_seconds=0.3))
    await supervisor.wait_ready("deaf")
    pid = supervisor.pids["deaf"]
    with capture_logs() as logs:
        await supervisor.stop()
    assert gone(pid)
    assert "child_killed" in [entry["event"] for entry in logs]


async def test_kill_does_not_wait_for_a_drain(tmp_path: Path) -> None:
    supervisor = Supervisor()
    supervisor.start(child("deaf", "deaf", tmp_path, drain_seconds=60))
    await supervisor.wait_ready("deaf")
    stopping = asyncio.create_task(supervisor.stop())
    await asyncio.sleep(0)
    supervisor.kill()
    await asyncio.wait_for(stopping, 10)


PARENT = """
import asyncio, pathlib, sys
sys.path.insert(0, {root!r})
from services.standalone.process import ProcessSpec
from services.standalone.supervisor import Supervisor

async def main():
    log = pathlib.Path({log!r})
    supervisor = Supervisor()
    spec = ProcessSpec("deaf", (sys.executable, {stubborn!r}, "deaf", str(log)), log.with_suffix(".ready").exists)
    supervisor.start(spec)
    await supervisor.wait_ready("deaf")
    log.with_suffix(".pid").write_text(str(supervisor.pids["deaf"]))
    print("up", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def test_no_orphan_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    root = str(Path(__file__).resolve().parents[3])
    code = PARENT.format(root=root, log=str(tmp_path / "x.log"), stubborn=str(STUBBORN))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        while parent.stdout.readline() != "up\n":
            assert parent.poll() is None
        child_process = psutil.Process(int((tmp_path / "x.pid").read_text()))
        assert not gone(child_process.pid)
        parent.kill()
    psutil.wait_procs([child_process], timeout=10)
    assert gone(child_process.pid)


def test_the_watchdog_kills_what_is_on_its_list_when_its_parent_is_gone() -> None:
    sleep = [sys.executable, "-c", "import signal; signal.pause()"]
    with subprocess.Popen(sleep) as listed, subprocess.Popen(sleep) as released:
        watchdog = subprocess.Popen([sys.executable, "-I", "-S", str(WATCHDOG)], stdin=subprocess.PIPE, text=True)
        watchdog.communicate(f"+{listed.pid}\n+{released.pid}\n-{released.pid}\n", timeout=10)
        assert listed.wait(10) == -signal.SIGKILL
        assert released.poll() is None
        released.kill()
