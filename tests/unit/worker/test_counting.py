from __future__ import annotations

from services.worker.delivery import _stored
from services.worker.entries import Entry
from services.worker.prepare import prepare
from services.worker.sink import Refused

from .doubles import RECEIVED, entry, thumb


def three_receipts_of_one_event_and_another() -> list[Entry]:
    same = thumb(event_id="e")
    return [
        *(entry(same, number=n, received_at=RECEIVED + n) for n in range(1, 4)),
        entry(thumb("other"), number=9),
    ]


def test_every_event_that_came_is_counted_under_one_outcome() -> None:
    prepared = prepare(three_receipts_of_one_event_and_another(), set())
    assert len(prepared.rows) == 3
    assert _stored(prepared, []) == {("langwatch", "stored"): 2, ("langwatch", "repeated"): 2}


def test_what_was_refused_is_not_counted_as_stored() -> None:
    prepared = prepare(three_receipts_of_one_event_and_another(), set())
    refused = [Refused(row, "why") for row in prepared.rows if row.event_id == "e"]
    assert _stored(prepared, refused) == {("langwatch", "stored"): 1, ("langwatch", "repeated"): 2}
