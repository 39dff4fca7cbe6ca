"""deploy/compose.yaml, started as it is but for the images that cannot be had without a registry (see standin/)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import util
from pathlib import Path

import pytest

from services.standalone.process import free_port

from .tools import DEPLOY, ROOT, run

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

_STANDIN = Path(__file__).parent / "standin" / "compose.yaml"
_PROJECT = "plaudit-test"
_SERVICES = ("redis", "clickhouse", "migrate", "ingest", "worker", "analytics", "gateway")


@dataclass(frozen=True)
class Stack:
    command: Sequence[str]
    env: dict[str, str]
    ports: dict[str, int]

    def __call__(self, *arguments: str) -> str:
        return run(*self.command, *arguments, env=self.env)

    def containers(self, service: str) -> list[str]:
        return self("ps", "-q", service).split()

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"


def compose_command() -> list[str] | None:
    docker = shutil.which("docker")
    if docker and not subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        return [docker, "compose"]
    old = shutil.which("docker-compose")
    return [old] if old else None


@pytest.fixture(scope="module")
def stack(docker: str, image: str) -> Iterator[Stack]:
    command = compose_command()
    if command is None:
        pytest.skip("neither docker compose nor docker-compose is installed")
    chdb = util.find_spec("chdb")
    if chdb is None or chdb.origin is None:
        pytest.skip("chdb is not installed: nothing stands in for the ClickHouse image")
    ports = {name: free_port() for name in ("gateway", "clickhouse", "analytics")}
    env = {
        **os.environ,
        "PLAUDIT_IMAGE": image,
        "CHDB_FOLDER": str(Path(chdb.origin).parents[1]),
        "PLAUDIT_INGEST_PORT": str(ports["gateway"]),
        "PLAUDIT_CLICKHOUSE_PORT": str(ports["clickhouse"]),
        "PLAUDIT_ANALYTICS_PORT": str(ports["analytics"]),
    }
    files = ("-p", _PROJECT, "-f", str(DEPLOY / "compose.yaml"), "-f", str(_STANDIN))
    stack = Stack((*command, *files), env, ports)
    with suppress(AssertionError):
        stack("down", "--volumes", "--timeout", "1")
    stack("build", "gateway")
    try:
        stack("up", "--detach", "--no-build", "--scale", "worker=4", *_SERVICES)
        wait_ready(f"{stack.url('gateway')}/health/ready")
        yield stack
    finally:
        sys.stdout.write(stack("logs", "--tail", "30"))
        stack("down", "--volumes", "--timeout", "5")


def wait_ready(url: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def add_key(stack: Stack, kind: str) -> str:
    return stack("exec", "-T", "ingest", "plaudit", "keys", "add", "--project", "p", "--kind", kind).split()[-1]


def start_load(stack: Stack, events: int, rate: int) -> subprocess.Popen[str]:
    clickhouse = f"http://plaudit:plaudit@127.0.0.1:{stack.ports['clickhouse']}/plaudit"
    arguments = {
        "--events": str(events),
        "--rate": str(rate),
        "--ingest-url": stack.url("gateway"),
        "--clickhouse-url": clickhouse,
        "--project": "p",
        "--langwatch-key": add_key(stack, "langwatch"),
        "--lunary-key": add_key(stack, "lunary-public"),
    }
    command = [part for option in arguments.items() for part in option]
    return subprocess.Popen(
        [sys.executable, "-m", "services.cli", "loadgen", "--verify", "--json", *command],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def test_four_workers_and_two_doors_run_not_root_and_read_only(docker: str, stack: Stack) -> None:
    assert len(stack.containers("worker")) == 4
    assert len(stack.containers("ingest")) == 2
    for container in (*stack.containers("worker"), *stack.containers("ingest"), *stack.containers("analytics")):
        state = json.loads(run(docker, "inspect", container))[0]
        assert state["HostConfig"]["ReadonlyRootfs"]
        assert state["HostConfig"]["CapDrop"] == ["ALL"]
        assert state["Config"]["User"] == "10001:10001"
        written = [docker, "exec", container, "sh", "-c", "touch /opt/plaudit/x"]
        assert subprocess.run(written, capture_output=True, check=False).returncode


def test_figures_are_not_shown_to_the_outside(stack: Stack) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{stack.url('gateway')}/metrics", timeout=5)
    assert refused.value.code == 404


def test_nothing_is_lost_or_doubled_while_a_worker_is_killed_and_a_door_replaced(docker: str, stack: Stack) -> None:
    load = start_load(stack, 9_000, 900)
    time.sleep(2)
    victim = stack.containers("worker")[0]
    run(docker, "kill", "--signal=KILL", victim)
    run(docker, "start", victim)
    run(docker, "restart", "--time=30", stack.containers("ingest")[0])
    output, _ = load.communicate(timeout=200)
    report = json.loads(output)
    assert load.returncode == 0, report
    verified = report["verified"]
    assert verified["accepted"] > 8_000
    assert {
        name: verified[name] for name in ("lost", "twice", "wrong", "current_wrong", "unexpected")
    } == dict.fromkeys(("lost", "twice", "wrong", "current_wrong", "unexpected"), 0)
    # The gateway saw the door leave before it left: nobody was refused.
    assert set(report["sent"]["statuses"]) == {"200"}, report["sent"]


def test_services_end_cleanly_when_they_are_stopped(docker: str, stack: Stack) -> None:
    workers, doors = stack.containers("worker"), stack.containers("ingest")
    started = time.monotonic()
    run(docker, "stop", "--time=30", *workers, *doors)
    assert time.monotonic() - started < 90
    for container in (*workers, *doors):
        state = json.loads(run(docker, "inspect", container))[0]["State"]
        assert state["ExitCode"] == 0, state
