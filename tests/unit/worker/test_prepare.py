from __future__ import annotations

import json

import pytest

from services.worker.entries import read_entry
from services.worker.prepare import prepare
from shared.envelope import FIELD
from shared.formats import NORMALIZERS

from .doubles import RECEIVED, entry, envelope, thumb

LATER = RECEIVED + 1_000_000
LATEST = RECEIVED + 2_000_000


def vote(number: float, comment: str | None = None) -> bytes:
    """One identity whatever it says."""
    return thumb(vote=number, event_id="e", event_details={"feedback": comment})


def test_events_become_rows_with_the_receipt_of_their_request() -> None:
    prepared = prepare([entry(thumb("a"), thumb("b"), number=7, project_id="shop")], set())
    assert [(row.trace_id, row.event_index) for row in prepared.rows] == [("a", 0), ("b", 1)]
    assert {(row.project_id, row.received_at, row.entry_id) for row in prepared.rows} == {("shop", RECEIVED, "7-0")}
    assert not prepared.unstorable


def test_of_one_identity_the_last_and_the_first_receipt_are_kept_in_whatever_order_they_come() -> None:
    came = {RECEIVED: vote(1), LATER: vote(0), LATEST: vote(-1)}
    numbered = [entry(event, number=n, received_at=at) for n, (at, event) in enumerate(came.items(), 1)]
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2), (0, 2, 1), (2, 0, 1)):
        prepared = prepare([numbered[n] for n in order], set())
        assert sorted((row.received_at, row.vote) for row in prepared.rows) == [(RECEIVED, 1), (LATEST, -1)]


def test_the_same_request_twice_is_one_row() -> None:
    prepared = prepare([entry(vote(1), entry_id="1-0"), entry(vote(1), entry_id="2-0")], set())
    assert len(prepared.rows) == 1
    assert prepared.outcomes == {("langwatch", "redelivered"): 1}


def test_a_retransmission_counts_as_repeated() -> None:
    prepared = prepare([entry(vote(1), number=1), entry(vote(1), number=2, received_at=LATER)], set())
    assert prepared.outcomes == {("langwatch", "repeated"): 1}


def test_other_content_counts_as_corrected() -> None:
    prepared = prepare([entry(vote(1, "good"), number=1), entry(vote(1, "bad"), number=2, received_at=LATER)], set())
    assert prepared.outcomes == {("langwatch", "corrected"): 1}


def test_what_is_not_feedback_counts_as_skipped() -> None:
    run = json.dumps({"type": "llm", "event": "start", "runId": "r", "timestamp": "2026-01-01T00:00:00Z"}).encode()
    prepared = prepare([entry(run, source="lunary")], set())
    assert prepared.outcomes == {("lunary", "skipped"): 1}
    assert not prepared.rows


def test_work_that_is_done_is_not_done_again() -> None:
    done = entry(thumb("a"), thumb("b"), number=1)
    fresh = entry(thumb("c"), number=2)
    prepared = prepare([done, fresh], {envelope(number=1).work_id})
    assert [row.trace_id for row in prepared.rows] == ["c"]
    assert prepared.outcomes == {("langwatch", "redelivered"): 2}


def test_another_part_of_a_done_request_is_fresh() -> None:
    prepared = prepare([entry(thumb("a"), number=1, part=1)], {envelope(number=1).work_id})
    assert [row.trace_id for row in prepared.rows] == ["a"]


def test_a_replay_goes_round_the_window() -> None:
    prepared = prepare([entry(thumb("a"), number=1, replayed=True)], {envelope(number=1).work_id})
    assert [row.trace_id for row in prepared.rows] == ["a"]


def test_an_unknown_source_is_set_aside_event_by_event() -> None:
    prepared = prepare([entry(thumb("a"), thumb("b"), source="newcomer")], set())
    assert [(item.event and item.event.index, item.reason) for item in prepared.unstorable] == [
        (0, "no format is called 'newcomer'"),
        (1, "no format is called 'newcomer'"),
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {FIELD: b"\xc1 no envelope"},
        {b"data": b'{"trace_id": "t"}'},
        {FIELD: bytes.fromhex("96a170a96c616e677761746368c403000000010090")},
    ],
    ids=["garbage", "another field", "a short request_id"],
)
def test_an_entry_that_is_no_envelope_is_set_aside_whole(fields: dict[bytes, bytes]) -> None:
    bad = read_entry("s", b"1-0", fields)
    prepared = prepare([bad, entry(thumb("good"), number=2)], set())
    assert [row.trace_id for row in prepared.rows] == ["good"]
    assert [(item.entry, item.event) for item in prepared.unstorable] == [(bad, None)]
    assert prepared.unstorable[0].reason.startswith("envelope: ")
    assert bad.payload
    assert bad.rows == 1


@pytest.mark.parametrize("part", [2**40, -1])
def test_a_part_that_cannot_be_named_is_no_envelope(part: int) -> None:
    # It would otherwise surface in the look-up of the whole batch, and void it.
    assert entry(thumb(), part=part).envelope is None


def test_a_bad_event_does_not_void_its_envelope() -> None:
    prepared = prepare([entry(thumb("a"), b'{"trace_id": 1}', thumb("b"))], set())
    assert [row.trace_id for row in prepared.rows] == ["a", "b"]
    assert [item.event.index for item in prepared.unstorable if item.event] == [1]


def test_a_fault_of_our_own_sets_the_event_aside_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumbles(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("services.worker.prepare.NORMALIZERS", {**NORMALIZERS, "lunary": stumbles})
    prepared = prepare([entry(b"{}", source="lunary", number=1), entry(thumb("a"), number=2)], set())
    assert [row.trace_id for row in prepared.rows] == ["a"]
    assert [item.reason for item in prepared.unstorable] == ["cannot be normalized: KeyError: 'a bug'"]


def test_running_out_of_memory_is_no_fault_of_the_event(monkeypatch: pytest.MonkeyPatch) -> None:
    def bursts(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("services.worker.prepare.NORMALIZERS", {"langwatch": bursts})
    with pytest.raises(MemoryError):
        prepare([entry(thumb())], set())
