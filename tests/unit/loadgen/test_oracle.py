from __future__ import annotations

import pytest

from services.loadgen.history import FOREVER, Delivery, ExpectedEvent, Outcome, Span
from services.loadgen.oracle import Field, TraceExpectation, expect
from tests.unit.loadgen.history_fixtures import BASE, TRACE, patch, sent, thumb


def only_trace(*deliveries: Delivery) -> TraceExpectation:
    (expectation,) = expect(deliveries).values()
    return expectation


def values(expectation: TraceExpectation, name: Field) -> set[float | str | None]:
    return {current.value for current in expectation.current(name)}


def one_event(*deliveries: Delivery) -> ExpectedEvent:
    (event,) = only_trace(*deliveries).events.values()
    return event


def test_an_undo_takes_the_vote_back() -> None:
    history = only_trace(sent(thumb(1, at=0), received=10), sent(thumb(0, at=1), received=11))
    assert len(history.events) == 2
    assert values(history, "vote") == {0.0}


def test_toggling_back_leaves_the_last_vote() -> None:
    votes = [sent(thumb(vote, at=second), received=second + 0.1) for second, vote in enumerate((1, -1, 1))]
    assert values(only_trace(*votes), "vote") == {1.0}


def test_votes_that_arrive_late_stand_in_client_time_order() -> None:
    history = only_trace(sent(thumb(-1, at=5), received=10), sent(thumb(1, at=4), received=20))
    assert values(history, "vote") == {-1.0}


def test_a_retransmission_is_one_event_and_moves_nothing() -> None:
    first, second = thumb(1), thumb(-1, at=1)
    history = only_trace(
        sent(thumb(1, event_id="a"), received=10), sent(second, received=11), sent(thumb(1, event_id="a"), received=20)
    )
    assert len(history.events) == 2
    # Without a client time the event is placed by when it was first heard of, not by its retransmission.
    assert values(history, "vote") == {1.0}
    assert len(only_trace(sent(first, received=10), sent(first, received=20)).events) == 2


def test_a_correction_replaces_what_its_identity_said() -> None:
    history = only_trace(
        sent(thumb(1, at=0, comment="good"), received=10), sent(thumb(-1, at=0, comment="bad"), received=20)
    )
    assert len(history.events) == 1
    assert values(history, "vote") == {-1.0}
    assert values(history, "comment") == {"bad"}


def test_a_correction_to_null_brings_the_earlier_comment_back() -> None:
    history = only_trace(
        sent(thumb(1, at=0, comment="earlier"), received=10),
        sent(thumb(-1, at=1, comment="later"), received=11),
        sent(thumb(-1, at=1, comment=None), received=12),
    )
    assert values(history, "comment") == {"earlier"}
    assert values(history, "vote") == {-1.0}


def test_a_backdated_correction_moves_the_event() -> None:
    history = only_trace(
        sent(thumb(1, at=5, event_id="a"), received=10),
        sent(thumb(-1, at=4), received=11),
        sent(thumb(1, at=3, event_id="a"), received=12),
    )
    assert len(history.events) == 2
    assert values(history, "vote") == {-1.0}


def test_a_retransmission_after_a_correction_stands_again() -> None:
    first, corrected = thumb(1, at=0), thumb(-1, at=0)
    history = only_trace(sent(first, received=10), sent(corrected, received=20), sent(first, received=30))
    assert len(history.events) == 1
    assert values(history, "vote") == {1.0}


def test_a_fast_clock_is_held_to_when_it_was_first_heard_of() -> None:
    history = only_trace(sent(thumb(1, at=1000), received=10), sent(thumb(-1, at=11), received=12))
    assert values(history, "vote") == {-1.0}


def test_a_retransmission_does_not_free_a_fast_clock() -> None:
    fast = thumb(1, at=1000)
    history = only_trace(sent(fast, received=10), sent(thumb(-1, at=11), received=12), sent(fast, received=20))
    assert values(history, "vote") == {-1.0}


def test_different_keys_at_one_instant_are_two_events() -> None:
    history = only_trace(
        sent(patch({"thumb": "up"}, at=0), source="lunary", received=10),
        sent(patch({"comment": "x"}, at=0), source="lunary", received=11),
    )
    assert len(history.events) == 2
    assert values(history, "vote") == {1.0}
    assert values(history, "comment") == {"x"}


def test_of_one_identity_in_one_request_the_later_place_stands() -> None:
    both = sent(patch({"thumb": "up"}, at=0), patch({"thumb": "down"}, at=0), source="lunary", received=10)
    assert values(only_trace(both), "vote") == {-1.0}


def test_the_request_id_decides_between_versions_of_one_microsecond() -> None:
    low = sent(thumb(1, at=0), received=10, request_id=bytes([1]) + bytes(15))
    high = sent(thumb(-1, at=0), received=10, request_id=bytes([2]) + bytes(15))
    assert values(only_trace(high, low), "vote") == {-1.0}


def test_what_nothing_identifies_is_one_event_a_request() -> None:
    assert len(only_trace(sent(thumb(1), received=10), sent(thumb(1), received=11)).events) == 2


def test_the_order_of_events_of_one_instant_is_that_of_their_dedupe_ids() -> None:
    both = sent(patch({"thumb": "up"}), patch({"thumb": "down"}), source="lunary", received=10)
    history = only_trace(both)
    assert values(history, "vote") == {1.0, -1.0}
    up, down = history.events.values()
    ids = {up.key: 2, down.key: 1}
    assert [current.value for current in history.current("vote", tie_break=lambda event: ids[event.key])] == [1.0]


def test_the_same_trace_id_of_two_sources_is_two_traces() -> None:
    expectations = expect(
        [sent(thumb(1), received=1), sent(patch({"thumb": "down"}), source="lunary", received=2)]
    )  # fmt: skip
    assert set(expectations) == {("langwatch", TRACE), ("lunary", TRACE)}


def test_what_was_acknowledged_must_be_there_and_what_was_not_may_be() -> None:
    acked = sent(thumb(1, at=0), received=10)
    lost = sent(thumb(-1, at=1), received=11, until=99, outcome=Outcome.AMBIGUOUS)
    history = only_trace(acked, lost)
    assert [event.required for event in history.events.values()] == [True, False]
    assert values(history, "vote") == {1.0, -1.0}


def test_a_refused_request_leaves_nothing_to_expect() -> None:
    history = only_trace(sent(thumb(1, at=0), received=10, outcome=Outcome.REFUSED))
    assert history.events == {}
    assert len(history.refused) == 1


def test_a_request_that_was_not_sent_leaves_no_trace() -> None:
    assert expect([sent(thumb(1), received=10, outcome=Outcome.UNSENT)]) == {}


def test_an_event_whose_answer_was_lost_once_and_acknowledged_later_must_be_there() -> None:
    again = thumb(1, at=0)
    event = one_event(sent(again, received=10, outcome=Outcome.AMBIGUOUS), sent(again, received=20))
    assert event.required
    assert event.first == Span(BASE + 10_000_000, BASE + 20_000_000)


def test_a_lost_correction_may_or_may_not_stand() -> None:
    lost = Delivery(
        "langwatch", ((0, thumb(-1, at=0)),), Outcome.AMBIGUOUS, Span(BASE + 20_000_000, FOREVER)
    )  # fmt: skip
    history = only_trace(sent(thumb(1, at=0), received=10), lost)
    assert values(history, "vote") == {1.0, -1.0}


def test_an_acknowledged_correction_rules_the_first_version_out() -> None:
    event = one_event(sent(thumb(1, at=0), received=10, until=11), sent(thumb(-1, at=0), received=12, until=13))
    assert [version.reading.vote for version in event.candidates] == [-1.0]


@pytest.mark.parametrize(
    ("told", "expected"),
    [(9.0, {-1.0}), (10.5, {1.0, -1.0}), (12.0, {1.0})],
)
def test_a_client_time_inside_the_span_of_another_receipt_leaves_both_orders_open(
    told: float, expected: set[float]
) -> None:
    """The vote without a client time was received somewhere from 10 to 11."""
    history = only_trace(sent(thumb(1, at=told), received=13), sent(thumb(-1), received=10, until=11))
    assert values(history, "vote") == expected


def test_a_vote_told_before_it_was_heard_stands_before_what_was_heard_later() -> None:
    history = only_trace(sent(thumb(1, at=10.5), received=10, until=11), sent(thumb(-1), received=12, until=13))
    assert values(history, "vote") == {-1.0}


def test_clock_slack_opens_the_order_of_client_times_and_receipts_only() -> None:
    history = only_trace(sent(thumb(1, at=9.99), received=13), sent(thumb(-1), received=10))
    assert {current.value for current in history.current("vote", clock_slack=50_000)} == {1.0, -1.0}
    receipts = only_trace(sent(thumb(1), received=10), sent(thumb(-1), received=10.01))
    assert {current.value for current in receipts.current("vote", clock_slack=50_000)} == {-1.0}


def test_the_time_at_which_the_current_vote_was_given_is_known() -> None:
    (told,) = only_trace(sent(thumb(1, at=3), received=10)).current("vote")
    assert told.given == Span(BASE + 3_000_000, BASE + 3_000_000)
    (heard,) = only_trace(sent(thumb(1), received=10, until=11)).current("vote")
    assert heard.given == Span(BASE + 10_000_000, BASE + 11_000_000)
