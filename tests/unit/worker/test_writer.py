from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from services.worker.circuit import Circuit
from services.worker.faults import EncodingError, Fault
from services.worker.sink import Backoff, PersistentWriter
from shared.errors import StoreUnavailableError
from shared.events import FeedbackEvent
from shared.telemetry import WorkerMetrics

from .doubles import ManualClock, Naps, full_backoff, rows

Insert = Callable[[Sequence[FeedbackEvent]], None]


class Table:
    """Takes inserts, unless ``trouble`` says otherwise for the rows at hand."""

    def __init__(self, trouble: Callable[[list[str], int], Exception | None] = lambda traces, attempt: None) -> None:
        self._trouble = trouble
        self.attempts: list[list[str]] = []
        self.stored: list[str] = []

    def __call__(self, events: Sequence[FeedbackEvent]) -> None:
        traces = [event.trace_id for event in events]
        self.attempts.append(traces)
        if error := self._trouble(traces, len(self.attempts)):
            raise error
        self.stored += traces


class Writing:
    def __init__(self, table: Table) -> None:
        self.table = table
        self.metrics = WorkerMetrics()
        self.circuit = Circuit(self.metrics)
        self.faults: list[Fault | None] = []
        self.naps = Naps()
        self.writer = PersistentWriter(
            table, full_backoff(), self.metrics, on_trouble=self._report, sleep=self.naps, clock=ManualClock()
        )

    def _report(self, write: object, fault: Fault | None) -> None:
        self.circuit.report(write, fault)
        self.faults.append(self.circuit.fault)

    async def write(self, events: Sequence[FeedbackEvent]) -> list[str]:
        """The traces of what was refused."""
        return [item.event.trace_id for item in await self.writer.write(events)]

    def inserts(self, result: str) -> float:
        return self.metrics.registry.get_sample_value("plaudit_worker_inserts_total", {"result": result}) or 0


def first(failures: int, error: Exception) -> Callable[[list[str], int], Exception | None]:
    return lambda _, attempt: error if attempt <= failures else None


def rows_fault(*bad: str, error: Exception | None = None) -> Callable[[list[str], int], Exception | None]:
    return lambda traces, _: (error or DatabaseError("", code=117)) if set(bad) & set(traces) else None


async def test_a_batch_goes_in_one_insert() -> None:
    writing = Writing(Table())
    assert await writing.write(rows(5)) == []
    assert writing.table.attempts == [["t0", "t1", "t2", "t3", "t4"]]
    assert writing.inserts("ok") == 1
    assert not writing.naps.taken


async def test_nothing_to_write_asks_nobody() -> None:
    writing = Writing(Table())
    assert await writing.write([]) == []
    assert writing.table.attempts == []


async def test_it_retries_for_as_long_as_it_takes_and_ever_more_slowly() -> None:
    writing = Writing(Table(first(50, OperationalError("connection refused"))))
    assert await writing.write(rows(3)) == []
    assert writing.table.stored == ["t0", "t1", "t2"]
    assert writing.naps.taken[:6] == [1, 2, 4, 8, 8, 8]
    assert len(writing.naps.taken) == 50
    assert writing.inserts("server") == 50


def test_backoff_is_jittered_between_nothing_and_its_cap() -> None:
    backoff = Backoff(base=1, cap=10, random=random.Random(1))
    delays = [backoff.delay(attempt) for attempt in range(1, 2000)]
    assert 0 <= min(delays) < 0.1
    assert 9.9 < max(delays) <= 10


@pytest.mark.parametrize(
    "error",
    [
        DatabaseError("no such table", code=60),
        DatabaseError("no such column", code=16),
        DatabaseError("violated constraint", code=469),
        DatabaseError("from a release to come", code=99999),
        DatabaseError("read-only", code=164),
        StoreUnavailableError("clickhouse", "away"),
        ValueError("nobody foresaw this"),
        RuntimeError("cannot start a thread"),
    ],
)
async def test_nothing_but_a_rows_own_fault_is_ever_blamed_on_a_row(error: Exception) -> None:
    writing = Writing(Table(first(20, error)))
    assert await writing.write(rows(2)) == []
    assert writing.table.attempts == [["t0", "t1"]] * 21
    assert writing.table.stored == ["t0", "t1"]


@pytest.mark.parametrize(
    "error", [DatabaseError("", code=27), EncodingError("out of range")], ids=["the server's", "the client's"]
)
async def test_bisecting_finds_exactly_the_bad_rows(error: Exception) -> None:
    writing = Writing(Table(rows_fault("t0", "t17", "t18", "t99", error=error)))
    assert sorted(await writing.write(rows(100))) == ["t0", "t17", "t18", "t99"]
    assert sorted(writing.table.stored) == sorted({f"t{n}" for n in range(100)} - {"t0", "t17", "t18", "t99"})
    assert not writing.naps.taken


async def test_a_row_is_refused_only_when_it_failed_alone() -> None:
    writing = Writing(Table(rows_fault("t3")))
    assert await writing.write(rows(8)) == ["t3"]
    assert ["t3"] in writing.table.attempts


async def test_the_server_may_go_away_in_the_middle_of_a_bisection() -> None:
    def trouble(traces: list[str], attempt: int) -> Exception | None:
        if 3 <= attempt <= 10:
            return OperationalError("reset")
        return rows_fault("t5")(traces, attempt)

    writing = Writing(Table(trouble))
    assert await writing.write(rows(16)) == ["t5"]
    assert len(writing.table.stored) == 15


async def test_out_of_memory_halves_after_three_tries_and_refuses_nothing() -> None:
    writing = Writing(Table(lambda traces, _: DatabaseError("memory limit", code=241) if len(traces) > 4 else None))
    assert await writing.write(rows(16)) == []
    sizes = [len(traces) for traces in writing.table.attempts]
    assert sizes == [16] * 3 + [8] * 3 + [4, 4] + [8] * 3 + [4, 4]
    assert sorted(writing.table.stored) == sorted(f"t{n}" for n in range(16))


async def test_one_row_that_finds_no_memory_waits_and_is_not_refused() -> None:
    writing = Writing(Table(first(30, DatabaseError("memory limit", code=241))))
    assert await writing.write(rows(1)) == []
    assert writing.table.stored == ["t0"]


async def test_a_failed_bisection_step_is_no_try_of_the_batchs_size() -> None:
    def trouble(traces: list[str], attempt: int) -> Exception | None:
        return rows_fault("t0")(traces, attempt) if attempt != 2 else DatabaseError("memory limit", code=241)

    writing = Writing(Table(trouble))
    assert await writing.write(rows(4)) == ["t0"]
    assert [len(traces) for traces in writing.table.attempts[:3]] == [4, 2, 2]


async def test_the_circuit_is_open_from_the_first_failure_to_the_next_success() -> None:
    writing = Writing(Table(first(3, DatabaseError("", code=60))))
    await writing.write(rows(1))
    assert writing.faults == [Fault.SCHEMA] * 3 + [None, None]


async def test_a_rows_fault_does_not_open_the_circuit() -> None:
    writing = Writing(Table(rows_fault("t1")))
    await writing.write(rows(4))
    assert set(writing.faults) == {None}


def test_a_write_that_succeeds_does_not_close_the_circuit_of_one_that_hangs() -> None:
    metrics = WorkerMetrics()
    circuit = Circuit(metrics)
    stuck, lucky = object(), object()
    seen = []
    for write, fault in ((stuck, Fault.UNKNOWN), (lucky, None), (stuck, None)):
        circuit.report(write, fault)
        seen.append((circuit.fault, metrics.registry.get_sample_value("plaudit_worker_circuit_open")))
    assert seen == [(Fault.UNKNOWN, 1), (Fault.UNKNOWN, 1), (None, 0)]


async def test_a_write_that_is_cancelled_leaves_no_circuit_open() -> None:
    writing = Writing(Table(first(10**9, OperationalError("away"))))

    async def stop(_: float) -> None:
        raise KeyboardInterrupt

    writing.writer._sleep = stop
    with pytest.raises(KeyboardInterrupt):
        await writing.write(rows(1))
    assert writing.circuit.fault is None
