"""Draining one backlog by whoever it is, with the time, the processor time and the memory it took."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from clickhouse_connect.driver.client import Client

from bench.backlog import BacklogWriter
from bench.pieces import Stage, ceiling_spec, cpu_seconds, peak_memory, running, worker_spec
from services.standalone.embedded import EmbeddedServer
from services.standalone.process import ProcessSpec
from shared.storage import EVENTS_TABLE, connect


class Drain:
    """One backlog of ``entries`` entries with ``events`` events, drained as often as is asked."""

    def __init__(self, stage: Stage, backlog: BacklogWriter, template: str, entries: int, events: int) -> None:
        self.stage = stage
        self.backlog = backlog
        self.template = template
        self.entries = entries
        self.events = events

    def ours(self, workers: int = 1, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
        """``plaudit worker`` with everything on but traces, so many processes of it. ``environment``: more of it."""
        plain = [worker_spec(self.stage.backends, number + 1) for number in range(workers)]
        specs = [replace(spec, env={**spec.env, **(environment or {})}) for spec in plain]
        return self._run(specs, self.backlog.emptied)

    def bare(self) -> dict[str, Any]:
        """The bare loop."""
        spec = ceiling_spec("bare_worker", self.backlog.stream, self.backlog.group, str(self.entries))
        return self._run([_with_servers(spec, self.stage)], self.backlog.acknowledged)

    def one_by_one(self) -> dict[str, Any]:
        """The hurried team."""
        spec = ceiling_spec("one_by_one", self.backlog.stream, self.backlog.group)
        return self._run([_with_servers(spec, self.stage)], self.backlog.acknowledged)

    def _run(self, specs: list[ProcessSpec], done: Callable[[], bool]) -> dict[str, Any]:
        self.backlog.clear()
        empty_tables(self.stage)
        # A window that remembers the last run would let this one skip everything.
        for key in self.backlog.redis.scan_iter("plaudit:{done}:*"):
            self.backlog.redis.unlink(key)
        with ExitStack() as stack:
            servers = [stack.enter_context(running(spec, self.stage.folder)) for spec in specs]
            self.backlog.wait(lambda: self._readers() >= len(specs))
            before = [cpu_seconds(server.pid) for server in servers]
            start = self.backlog.put(self.template)
            seconds = self.backlog.wait(lambda: _alive(servers) and done()) - start
            used = sum(cpu_seconds(server.pid) for server in servers) - sum(before)
            peak = max(peak_memory(server.pid) for server in servers)
        return {
            "events_per_second": self.events / seconds,
            "cpu_us_per_event": used / self.events * 1e6,
            "cpu_seconds": used,
            "seconds": seconds,
            "peak_mib": peak / 2**20,
            "rows": _count(self.stage),
        }

    def _readers(self) -> int:
        return len(self.backlog.redis.xinfo_consumers(self.backlog.stream, self.backlog.group))


class DiedError(Exception):
    """A process under measurement ended by itself; its log tells why."""


def _alive(servers: list[EmbeddedServer]) -> bool:
    for server in servers:
        if not server.running:
            raise DiedError(server.log.read_text(encoding="utf-8", errors="replace")[-2000:])
    return True


def _with_servers(spec: ProcessSpec, stage: Stage) -> ProcessSpec:
    return ProcessSpec(name=spec.name, argv=spec.argv, ready=spec.ready, env=stage.backends.env)


def empty_tables(stage: Stage) -> None:
    """So that every run inserts into a table of the same size."""
    client = connect(stage.clickhouse)
    for table in (EVENTS_TABLE, "feedback_by_trace", "feedback_changes", "hurried"):
        client.command(f"TRUNCATE TABLE IF EXISTS {table}")
    client.close()


def _count(stage: Stage) -> int:
    client: Client = connect(stage.clickhouse)
    try:
        return int(str(client.command(f"SELECT count() FROM {EVENTS_TABLE}")))
    finally:
        client.close()


def bytes_on_disk(stage: Stage) -> dict[str, float]:
    """By table, bytes for each event in the events' table, when everything has been merged."""
    client = connect(stage.clickhouse)
    try:
        rows = int(str(client.command(f"SELECT count() FROM {EVENTS_TABLE}")))
        for table in (EVENTS_TABLE, "feedback_by_trace", "feedback_changes"):
            client.command(f"OPTIMIZE TABLE {table} FINAL")
        sizes = client.query(
            "SELECT table, sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase() "
            "AND table IN ('feedback_events', 'feedback_by_trace', 'feedback_changes') GROUP BY table"
        ).result_rows
        return {str(table): float(str(size)) / max(1, rows) for table, size in sizes}
    finally:
        client.close()
