"""The whole pipeline at 5,000 events a second, default settings: how soon events are seen, and what piles up."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import uvloop
from clickhouse_connect.driver.client import Client

from bench.bodies import langwatch_bodies, prebuilt
from bench.figures import Figure, Outcome, median
from bench.machine import MEASURED_CORE, OTHER_CORE
from bench.pieces import Stage, cpu_seconds, door_spec, running, stage, worker_spec
from services.loadgen.client import Connection
from services.loadgen.driver import Driver
from services.loadgen.requests import Prebuilt
from services.standalone.process import free_port
from shared.storage import EVENTS_TABLE, connect

RATE = 5_000
_PROBE_EVERY = 50
_POLL = 0.025
_WARM_UP = 8.0
"""Seconds that are not counted: first connections, first merges."""


class _Probing(Driver):
    """Remembers when the requests that are probes were answered, in monotonic seconds."""

    def __init__(self, requests: Prebuilt, port: int) -> None:
        super().__init__(
            requests,
            address=("127.0.0.1", port),
            connections=64,
            interval=1 / RATE,
            request_timeout=60,
            patience=30,
        )
        self.answers: dict[int, float] = {}

    def answered(self, connection: Connection, status: int, head: bytes, body: bytes) -> None:
        if connection.number % _PROBE_EVERY == 0 and status == 200:
            self.answers[connection.number] = time.monotonic()
        super().answered(connection, status, head, body)


class _Watcher(threading.Thread):
    """Asks again and again which probes can be seen; ``seen`` has the time of the answer that first named each."""

    def __init__(self, client: Client) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._ended = threading.Event()
        self.seen: dict[str, float] = {}

    def run(self) -> None:
        since = 0
        while not self._ended.wait(_POLL):
            rows = self._client.query(
                f"SELECT trace_id, toUnixTimestamp64Micro(received_at) FROM {EVENTS_TABLE} "
                "WHERE event_type = 'probe' AND received_at > fromUnixTimestamp64Micro({since:Int64})",
                {"since": since},
            ).result_rows
            now = time.monotonic()
            for trace, received in rows:
                if cast("str", trace) not in self.seen:
                    self.seen[cast("str", trace)] = now
                since = max(since, int(cast("int", received)) - 3_000_000)

    def stop(self) -> None:
        self._ended.set()
        self.join()


@contextmanager
def _running_pipeline(workers: int) -> Iterator[tuple[Stage, int, list[int], list[int]]]:
    """Everything on both cores; gives the stage, the door's port, the workers' metrics ports and process ids."""
    cores = (MEASURED_CORE, OTHER_CORE)
    with ExitStack() as stack:
        made = stack.enter_context(stage(cores=cores))
        ports, pids = [free_port() for _ in range(workers)], []
        for number, port in enumerate(ports, 1):
            spec = worker_spec(made.backends, number, port=port)
            pids.append(stack.enter_context(running(spec, made.folder, *cores)).pid)
        door = free_port()
        stack.enter_context(running(door_spec(door, made.backends), made.folder, *cores))
        yield made, door, ports, pids


def _requests(seconds: float) -> Prebuilt:
    count = int(RATE * seconds)
    bodies = list(langwatch_bodies(20_000))
    whole = [
        b'{"trace_id":"probe-%d","event_type":"probe","metrics":{}}' % number
        if number % _PROBE_EVERY == 0
        else bodies[number % len(bodies)]
        for number in range(count)
    ]
    return prebuilt(whole, lunary=False, count=count)


def delay(seconds: float = 40.0) -> Outcome:
    """From the 200 to the first answer of ClickHouse that has the event."""
    outcome = Outcome()
    requests = _requests(seconds)
    with _running_pipeline(1) as (made, door, _, pids):
        client = connect(made.clickhouse)
        watcher = _Watcher(client)
        watcher.start()
        driver = _Probing(requests, door)
        before = cpu_seconds(pids[0])
        sent = uvloop.run(driver.run())
        time.sleep(3)
        used = cpu_seconds(pids[0]) - before
        watcher.stop()
        client.close()
    counted = range(int(RATE * _WARM_UP), requests.count)
    waits = sorted(
        max(0.0, watcher.seen[f"probe-{number}"] - answered)
        for number, answered in driver.answers.items()
        if number in counted and f"probe-{number}" in watcher.seen
    )
    missing = sum(f"probe-{number}" not in watcher.seen for number in driver.answers)
    p50, p99 = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
    outcome.runs.append(
        {
            "probes": len(waits),
            "probes_never_seen": missing,
            "requests_per_second": requests.count / sent.seconds,
            "statuses": {str(status): count for status, count in sent.statuses.items()},
            "answer_p99_ms": sent.latency.quantile(0.99) / 1000,
            "worker_cpu_us_per_event": used / requests.count * 1e6,
            "delay_s": {share: waits[int(len(waits) * share)] for share in (0.1, 0.5, 0.9, 0.99, 0.999)},
        }
    )
    told = f"{len(waits)} probes, {missing} never seen; one process looked every {_POLL * 1000:.0f} ms"
    outcome.figures = [
        Figure(
            what=f"delay from 200 to visible at {RATE:,} events/s: {name}",
            value=value,
            unit="s",
            must=must,
            aim=aim,
            better="lower",
            ours=told,
        )
        for name, value, must, aim in (("p50", p50, 0.7, 0.4), ("p99", p99, 1.5, 0.8))
    ]
    return outcome


def parts(seconds: float = 75.0) -> Outcome:
    """Active parts and inserts with four workers."""
    outcome = Outcome()
    requests = _requests(seconds)
    with _running_pipeline(4) as (made, door, ports, _):
        samples: list[dict[str, Any]] = []
        driver = _Probing(requests, door)
        sampler = threading.Thread(target=_sample, args=(made, ports, samples, seconds), daemon=True)
        sampler.start()
        uvloop.run(driver.run())
        sampler.join()
    steady = [sample for sample in samples if sample["at"] > _WARM_UP]
    third = len(steady) // 3
    middle = median([sample["active_parts"] for sample in steady[third : 2 * third]])
    last = median([sample["active_parts"] for sample in steady[2 * third :]])
    first, final = steady[0], steady[-1]
    inserts = (final["inserts"] - first["inserts"]) / (final["at"] - first["at"]) / len(ports)
    outcome.runs = samples
    outcome.figures = [
        Figure(
            what=f"inserts/s a worker at {RATE:,} events/s with 4 workers",
            value=inserts,
            unit="/s",
            must=2.0,
            better="lower",
            ours=f"{inserts * len(ports):.1f}/s of all",
        ),
        Figure(
            what="the same: active parts in the last third of the run against the middle one",
            value=last / middle,
            unit="x",
            must=1.1,
            better="lower",
            ours=f"{middle:.0f} → {last:.0f} parts over {seconds:.0f} s",
        ),
    ]
    return outcome


def parts_for_ten_minutes() -> Outcome:
    """The long form; not part of the quarter of an hour."""
    return parts(600.0)


def _sample(made: Stage, ports: list[int], samples: list[dict[str, Any]], seconds: float) -> None:
    client = connect(made.clickhouse)
    started = time.monotonic()
    while (at := time.monotonic() - started) < seconds:
        query = f"SELECT count() FROM system.parts WHERE active AND table = '{EVENTS_TABLE}' AND database = 'plaudit'"
        active = int(str(client.command(query)))
        samples.append({"at": at, "active_parts": active, "inserts": sum(map(_inserts, ports))})
        time.sleep(2.5)
    client.close()


def _inserts(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
        lines = reply.read().decode().splitlines()
    wanted = 'plaudit_worker_inserts_total{result="ok"}'
    return next((int(float(line.rpartition(" ")[2])) for line in lines if line.startswith(wanted)), 0)
