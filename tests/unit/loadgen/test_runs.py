"""Whole runs, in one process and in several, against a server in another thread."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from services.loadgen.history import Outcome
from services.loadgen.ledger import read_ledger
from services.loadgen.main import run
from services.loadgen.options import LoadOptions
from services.loadgen.workload import lane_steps


class Door(ThreadingHTTPServer):
    def __init__(self, status: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = status
        self.bodies: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Door

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(params=[200])
def door(request: pytest.FixtureRequest) -> Iterator[Door]:
    server = Door(request.param)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def loadgen(door: Door, **options: object) -> tuple[int, dict[str, dict[str, object]]]:
    output = StringIO()
    target = {"ingest_url": door.url, "langwatch_key": "k", "lunary_key": "l", "project": "p", "json": True}
    status = run(LoadOptions(**(target | {"connections": 8} | options)), Console(file=output))  # type: ignore[arg-type]
    return status, json.loads(output.getvalue())


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_sends_all_its_requests_and_its_ledger_knows_them(door: Door, tmp_path: Path, processes: int) -> None:
    status, report = loadgen(door, events=400, processes=processes, ledger=tmp_path / "ledger")
    ledger = read_ledger(tmp_path / "ledger")
    steps = [
        (lane, place, step)
        for lane in range(ledger.plan.lanes)
        for place, step in enumerate(lane_steps(ledger.plan, lane))
    ]
    assert status == 0
    assert sorted(door.bodies) == sorted(step.body for _, _, step in steps for _ in range(step.copies))
    assert report["sent"]["statuses"] == {"200": len(door.bodies)}
    for lane, place, step in steps:
        assert all(ledger.result(lane, place, copy).outcome is Outcome.ACKED for copy in range(step.copies))


@pytest.mark.parametrize("door", [401], indirect=True)
def test_a_run_of_which_nothing_was_accepted_fails(door: Door) -> None:
    status, report = loadgen(door, events=50)
    assert status == 1
    assert set(report["sent"]["statuses"]) == {"401"}  # type: ignore[call-overload]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_door_that_is_not_there_ends_the_run_with_its_address(
    door: Door, processes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    options = LoadOptions(
        events=100,
        processes=processes,
        patience=0.0,
        ingest_url="http://127.0.0.1:1",
        langwatch_key="k",
        lunary_key="l",
    )
    assert run(options, Console(file=StringIO())) == 2
    assert "127.0.0.1:1" in capsys.readouterr().err


def test_without_a_target_a_run_says_what_to_give(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(LoadOptions(), Console(file=StringIO())) == 2
    assert "--ready-file" in capsys.readouterr().err
