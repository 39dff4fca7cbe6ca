from __future__ import annotations

import random
from collections.abc import Sequence

from clickhouse_connect.driver.exceptions import DatabaseError

from services.worker.entries import read_entry
from services.worker.faults import Fault
from services.worker.prepare import prepare
from services.worker.sink import Backoff
from services.worker.traces import LearntTrace, TraceWriter
from shared.envelope import FIELD, Envelope, RawEvent, encode
from shared.traces import TRACES, TraceRecord, pack

_RECORDS = [TraceRecord("lunary", f"t{number}", model="m") for number in range(700)]


def test_records_come_out_of_an_envelope_beside_the_feedback() -> None:
    traces = Envelope("p", TRACES, bytes(16), 5, list(pack(_RECORDS)))
    vote = b'{"trace_id":"t","event_type":"thumbs_up_down","metrics":{"vote":1}}'
    feedback = Envelope("p", "langwatch", bytes(15) + b"1", 6, [RawEvent(0, vote)])
    entries = [read_entry("s", b"%d-0" % n, {FIELD: encode(e)}) for n, e in enumerate((traces, feedback))]
    prepared = prepare(entries, set())
    assert [one.record for one in prepared.traces] == _RECORDS
    assert {(one.project_id, one.received_at) for one in prepared.traces} == {("p", 5)}
    assert len(prepared.rows) == 1
    assert prepared.unstorable == []


def test_a_piece_that_is_no_record_is_set_aside_alone() -> None:
    pieces = [RawEvent(0, b"junk"), *[RawEvent(1, piece.raw) for piece in pack(_RECORDS[:1])]]
    entry = read_entry("s", b"1-0", {FIELD: encode(Envelope("p", TRACES, bytes(16), 5, pieces))})
    prepared = prepare([entry], set())
    assert len(prepared.traces) == 1
    assert [item.event for item in prepared.unstorable] == [pieces[0]]


class _Table:
    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.attempts = 0
        self.troubles: list[Fault | None] = []

    def insert(self, learnt: Sequence[LearntTrace]) -> None:
        self.attempts += 1
        if self.failures:
            raise self.failures.pop(0)

    async def write(self) -> None:
        async def no_sleep(_seconds: float) -> None:
            pass

        writer = TraceWriter(
            self.insert,
            Backoff(1, 1, random.Random(1)),
            on_trouble=lambda _write, fault: self.troubles.append(fault),
            sleep=no_sleep,
        )
        await writer.write([LearntTrace("p", _RECORDS[0], 1)])


def _error(code: int) -> DatabaseError:
    return DatabaseError(f"error code {code}", code=code)


async def test_records_are_written_for_as_long_as_it_takes_and_the_circuit_is_told() -> None:
    table = _Table(OSError("gone"), _error(60), _error(252))
    await table.write()
    assert table.attempts == 4
    assert table.troubles == [Fault.SERVER, Fault.SCHEMA, Fault.SERVER, None]


async def test_what_the_table_refuses_for_its_contents_blocks_nothing() -> None:
    table = _Table(_error(117))
    await table.write()
    assert table.attempts == 1
    assert table.troubles == [None]
