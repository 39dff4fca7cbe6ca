from __future__ import annotations

from pathlib import Path

import pytest

from services.loadgen.history import FOREVER, Outcome, Span
from services.loadgen.ledger import LedgerWriter, begin, read_ledger
from services.loadgen.options import LoadOptions, OptionsError
from services.loadgen.outcomes import NEVER_SENT, Result
from services.loadgen.plan import Plan, make_plan


@pytest.fixture
def plan() -> Plan:
    return make_plan(LoadOptions(events=100), run="0a1b2c3d", started=1_795_000_000_000_000)


@pytest.fixture
def path(tmp_path: Path, plan: Plan) -> Path:
    path = tmp_path / "ledger"
    begin(path, plan, "default")
    return path


def test_a_ledger_holds_the_plan_and_the_outcomes(path: Path, plan: Plan) -> None:
    writer = LedgerWriter(path)
    writer.intend(3, 0, checksum=77, copies=1, at=5)
    writer.answer(3, 0, 0, Result(Outcome.ACKED, Span(6, 9)))
    writer.close()
    ledger = read_ledger(path)
    assert (ledger.plan, ledger.project) == (plan, "default")
    assert ledger.result(3, 0, 0) == Result(Outcome.ACKED, Span(6, 9))
    assert ledger.checksum(3, 0) == 77


def test_an_intent_without_an_answer_may_have_arrived_at_any_time(path: Path) -> None:
    writer = LedgerWriter(path)
    writer.intend(0, 4, checksum=1, copies=2, at=5)
    writer.answer(0, 4, 0, Result(Outcome.REFUSED, Span(6, 9)))
    writer.close()
    ledger = read_ledger(path)
    assert ledger.result(0, 4, 0).outcome is Outcome.REFUSED
    assert ledger.result(0, 4, 1) == Result(Outcome.AMBIGUOUS, Span(5, FOREVER))
    assert ledger.result(0, 5, 0) == NEVER_SENT
    assert ledger.checksum(0, 5) is None


def test_lines_are_in_the_file_as_soon_as_they_are_written(path: Path) -> None:
    writer = LedgerWriter(path)
    writer.intend(0, 0, checksum=1, copies=1, at=5)
    writer.write(writer.take())
    assert writer.take() == b""
    assert read_ledger(path).result(0, 0, 0).outcome is Outcome.AMBIGUOUS
    writer.close()


def test_two_processes_append_to_one_ledger(path: Path) -> None:
    writers = [LedgerWriter(path), LedgerWriter(path)]
    for place in range(50):
        for lane, writer in enumerate(writers):
            writer.intend(lane, place, checksum=place, copies=1, at=5)
            writer.write(writer.take())
    for writer in writers:
        writer.close()
    ledger = read_ledger(path)
    assert all(ledger.checksum(lane, place) == place for lane in (0, 1) for place in range(50))


def test_a_last_line_cut_off_by_a_kill_does_not_count(path: Path) -> None:
    writer = LedgerWriter(path)
    writer.intend(0, 0, checksum=1, copies=1, at=5)
    writer.answer(0, 0, 0, Result(Outcome.ACKED, Span(6, 9)))
    writer.close()
    path.write_bytes(path.read_bytes()[:-4])
    assert read_ledger(path).result(0, 0, 0).outcome is Outcome.AMBIGUOUS


def test_a_ledger_is_never_overwritten(path: Path, plan: Plan) -> None:
    with pytest.raises(OptionsError, match="never overwritten"):
        begin(path, plan, "default")


@pytest.mark.parametrize("content", ["", "{}\n", "nonsense\n"])
def test_another_file_is_not_taken_for_a_ledger(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other"
    path.write_text(content)
    with pytest.raises(OptionsError, match="not a ledger"):
        read_ledger(path)
