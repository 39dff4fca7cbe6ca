"""A collector that is away, slow or unwilling: nobody waits for it, and what it missed is counted."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

from services.standalone.process import free_port
from tests.support.collector import running_collector
from tests.support.door_stack import LEGACY, Stack, another_service, running_stack

from .conftest import tracing

pytestmark = pytest.mark.integration

_FLUSH = 1.0


@pytest.fixture(scope="module")
def untraced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Door and worker with tracing off; traced ones come beside them."""
    with running_stack(tmp_path_factory.mktemp("untraced")) as running:
        yield running


def send(url: str, count: int) -> list[float]:
    """Seconds that each request took."""
    taken = []
    with httpx.Client(headers={"X-Auth-Token": LEGACY}) as client:
        for number in range(count):
            body = {"trace_id": f"t{number}", "event_type": "thumbs_up_down", "metrics": {"vote": 1}}
            started = time.monotonic()
            assert client.post(f"{url}/api/track_event", json=body).status_code == 200
            taken.append(time.monotonic() - started)
    return taken


def spans(url: str, outcome: str) -> float:
    name = f'plaudit_otel_spans_total{{outcome="{outcome}"}} '
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return next((float(line.removeprefix(name)) for line in lines if line.startswith(name)), 0.0)


def stop(service: subprocess.Popen[bytes]) -> float:
    """Seconds that it took to end, cleanly."""
    started = time.monotonic()
    service.terminate()
    assert service.wait(30) == 0
    return time.monotonic() - started


def traced_door(url: str, **more: str) -> dict[str, str]:
    return tracing(
        url,
        PLAUDIT_OTEL_FLUSH_TIMEOUT=str(_FLUSH),
        OTEL_BSP_MAX_QUEUE_SIZE="64",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="32",
        **more,
    )


def test_a_collector_that_is_away_costs_counted_spans_and_one_line_in_the_log(untraced: Stack) -> None:
    before = len(untraced.log.read_text())
    settings = traced_door(f"http://127.0.0.1:{free_port()}", OTEL_EXPORTER_OTLP_TIMEOUT="0.3")
    with another_service(untraced, "ingest", "PLAUDIT_INGEST_PORT", **settings) as (url, service):
        send(url, 200)
        _until(lambda: spans(url, "dropped") + spans(url, "refused") == 2 * 200)
        assert spans(url, "refused") > 64
        assert stop(service) < _FLUSH + 3
    log = untraced.log.read_text()[before:]
    assert log.count("spans_not_exported") == 1
    # What the library says at each attempt is told as the reason, and not besides.
    assert log.count("encountered while exporting") <= 1
    assert "opentelemetry" not in log


def test_a_collector_that_hangs_makes_nobody_wait(untraced: Stack) -> None:
    with running_collector() as collector:
        hanging = True

        def behave() -> int:
            while hanging:
                time.sleep(0.05)
            return 200

        collector.behave = behave
        settings = traced_door(collector.url)
        with another_service(untraced, "ingest", "PLAUDIT_INGEST_PORT", **settings) as (url, service):
            taken = send(url, 200)
            assert sorted(taken)[len(taken) // 2] < 0.5
            # Two a request; 64 may wait.
            assert spans(url, "dropped") == 2 * 200 - 64
            assert stop(service) < _FLUSH + 3
        hanging = False


def test_spans_that_wait_are_sent_at_the_end(untraced: Stack) -> None:
    with running_collector() as collector:
        settings = traced_door(collector.url, OTEL_BSP_SCHEDULE_DELAY="60000")
        with another_service(untraced, "ingest", "PLAUDIT_INGEST_PORT", **settings) as (url, service):
            send(url, 5)
            assert collector.spans == []
            stop(service)
        assert len(collector.spans) == 10


def test_a_collector_that_refuses_and_comes_to_its_senses_is_told_twice_in_the_log(untraced: Stack) -> None:
    before = len(untraced.log.read_text())
    with running_collector() as collector:
        collector.behave = lambda: 400
        settings = traced_door(collector.url)
        with another_service(untraced, "ingest", "PLAUDIT_INGEST_PORT", **settings) as (url, _):
            send(url, 20)
            _until(lambda: spans(url, "refused") == 40)
            collector.behave = lambda: 200
            send(url, 5)
            _until(lambda: spans(url, "exported") == 10)
    log = untraced.log.read_text()[before:]
    assert (log.count("spans_not_exported"), log.count("spans_exported_again")) == (1, 1)


def test_where_tracing_is_off_nothing_is_told(untraced: Stack) -> None:
    with running_collector() as collector:
        settings = tracing(collector.url, PLAUDIT_OTEL_TRACING="false")
        with another_service(untraced, "ingest", "PLAUDIT_INGEST_PORT", **settings) as (url, service):
            send(url, 5)
            assert "plaudit_otel" not in httpx.get(f"{url}/metrics").text
            stop(service)
        assert collector.requests == []


@pytest.mark.parametrize("service", ["ingest", "worker"])
def test_a_bad_variable_of_the_standard_is_told_by_its_own_name(service: str) -> None:
    environment = {**os.environ, "PLAUDIT_OTEL_TRACING": "true", "OTEL_TRACES_SAMPLER": "sometimes"}
    command = [sys.executable, "-m", "services.cli", service]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "OTEL_TRACES_SAMPLER: Input should be 'always_on'" in done.stderr
    assert "PLAUDIT_OTEL_TRACES" not in done.stderr


@pytest.mark.parametrize("service", ["ingest_api", "worker"])
def test_a_service_imports_nothing_of_it_before_it_is_switched_on(service: str) -> None:
    code = (
        f"import sys, services.{service}.main\n"
        # The Redis client looks for the library's metrics by itself, wherever it is installed.
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk.trace', 'opentelemetry.exporter'))"
        " or '.tracing.' in name or name == 'services.worker.tracing'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)
