from __future__ import annotations

from dataclasses import dataclass

import pytest

from services.loadgen.compare import Verdict, compare
from services.loadgen.history import Delivery, Outcome, Version
from services.loadgen.oracle import TraceExpectation, expect
from services.loadgen.reading import AsJson
from services.loadgen.stored import StoredCurrent, StoredEvent
from tests.unit.loadgen.history_fixtures import TRACE, patch, sent, thumb

AHEAD = 300_000_000


def row_of(version: Version, number: int = 1) -> StoredEvent:
    """The row that a faultless pipeline stores for a version."""
    reading, received_at = version.reading, version.delivery.received.lo
    request_id = number << 100
    return StoredEvent(
        source=reading.source,
        trace_id=reading.trace_id,
        dedupe_id=hash(reading.identity or number) % 2**64,
        event_type=reading.event_type,
        timestamp=reading.moment.micros if reading.moment else received_at,
        time_status="none"
        if reading.moment is None
        else ("ahead" if reading.moment.micros > received_at + AHEAD else "client"),
        received_at=received_at,
        version=(received_at << 64) | (request_id >> 84 << 20) | version.place,
        vote=reading.vote,
        comment=reading.comment,
        metrics=reading.metrics,
        details={name: "0" if isinstance(value, AsJson) else value for name, value in reading.details.items()},
        user_id=reading.user_id,
        thread_id=reading.thread_id,
        event_id=reading.event_id,
        request_id=request_id,
        event_index=version.place,
        raw=reading.raw,
    )


@dataclass
class Stored:
    """A faultless state of the tables after some deliveries, to plant faults in."""

    expected: dict[tuple[str, str], TraceExpectation]
    events: list[StoredEvent]
    current: list[StoredCurrent]

    def verdict(self) -> Verdict:
        return compare(self.expected, self.events, self.current)


def stored(*deliveries: Delivery) -> Stored:
    expected = expect(deliveries)
    events, current = [], []
    for trace, expectation in expected.items():
        present = [event for event in expectation.events.values() if event.required]
        events += [row_of(event.candidates[-1], number) for number, event in enumerate(present)]
        vote, comment = next(expectation.current("vote")), next(expectation.current("comment"))
        assert not isinstance(vote.value, str)
        assert not isinstance(comment.value, float)
        given = vote.given.lo if vote.given else 0
        if present:
            current.append(StoredCurrent(*trace, vote.value, comment.value, given, len(present)))
    return Stored(expected, events, current)


def history() -> Stored:
    return stored(
        sent(thumb(1, at=0, comment="good", user_id="u"), received=10),
        sent(thumb(-1, at=1), received=11),
        sent(thumb(0.5, at=1), received=12),
        sent(thumb(1, event_id="e", at=3), received=13),
        sent(thumb(-1), received=14),
        sent(patch({"thumb": "down", "zero": 0}, at=2), patch({"comment": None}), source="lunary", received=15),
    )


def test_a_faultless_state_has_no_faults() -> None:
    verdict = history().verdict()
    assert verdict.faultless
    assert (verdict.accepted, verdict.stored, verdict.traces, verdict.current_open) == (6, 6, 2, 0)
    assert verdict.samples == []


def test_a_missing_row_is_lost() -> None:
    state = history()
    del state.events[1]
    state.current[0] = state.current[0]._replace(events=3)
    verdict = state.verdict()
    assert (verdict.lost, verdict.twice, verdict.wrong, verdict.unexpected) == (1, 0, 0, 0)


def test_a_second_row_of_an_identity_is_counted_twice() -> None:
    state = history()
    state.events.append(state.events[0]._replace(dedupe_id=5))
    assert state.verdict().twice == 1


def test_a_second_row_of_an_event_without_identity_is_counted_twice() -> None:
    state = history()
    state.events.append(state.events[3]._replace(dedupe_id=5))
    assert state.events[3].event_id is None
    assert state.verdict().twice == 1


def test_a_second_row_that_the_current_feedback_counts_as_well_is_one_fault() -> None:
    state = history()
    state.events.append(state.events[0]._replace(dedupe_id=5))
    state.current[0] = state.current[0]._replace(events=5)
    assert state.verdict().twice == 1


def test_a_missing_row_that_the_current_feedback_still_counts_is_lost_and_not_counted_twice() -> None:
    state = history()
    del state.events[1]
    verdict = state.verdict()
    assert (verdict.lost, verdict.twice, verdict.current_wrong) == (1, 0, 1)


def test_more_events_in_the_current_feedback_than_rows_are_counted_twice() -> None:
    state = history()
    state.current[1] = state.current[1]._replace(events=3)
    assert state.verdict().twice == 1


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("vote", 0.0),
        ("vote", None),
        ("comment", ""),
        ("comment", None),
        ("metrics", {}),
        ("metrics", {"vote": 1.0, "more": 1.0}),
        ("details", {}),
        ("details", {"feedback": None}),
        ("event_type", "thumbs"),
        ("timestamp", 1),
        ("time_status", "past"),
        ("user_id", None),
        ("thread_id", "t"),
        ("event_id", "x"),
        ("event_index", 1),
        ("version", 1),
    ],
)
def test_a_changed_column_is_wrong_in_content(column: str, value: object) -> None:
    state = history()
    state.events[0] = state.events[0]._replace(**{column: value})  # type: ignore[arg-type]
    verdict = state.verdict()
    assert verdict.wrong == 1
    assert (verdict.lost, verdict.twice, verdict.unexpected) == (0, 0, 0)
    assert column in verdict.samples[0]


def test_raw_that_was_written_anew_is_wrong_in_content() -> None:
    state = history()
    state.events[0] = state.events[0]._replace(raw=state.events[0].raw.replace(b", ", b","))
    verdict = state.verdict()
    assert (verdict.wrong, verdict.lost) == (1, 0)
    assert "raw" in verdict.samples[0]


@pytest.mark.parametrize("raw", [b"", b"[", b"{}", b"null", b'{"trace_id":5}'])
def test_raw_that_says_nothing_is_one_wrong_event_not_a_lost_and_a_strange_one(raw: bytes) -> None:
    state = history()
    state.events[0] = state.events[0]._replace(raw=raw)
    verdict = state.verdict()
    assert (verdict.wrong, verdict.lost, verdict.unexpected) == (1, 0, 0)


def test_a_version_that_was_corrected_is_wrong() -> None:
    first, corrected = sent(thumb(1, at=1), received=11), sent(thumb(-1, at=1), received=12)
    old = stored(first)
    state = stored(first, corrected)
    assert compare(state.expected, old.events, old.current).wrong == 1


@pytest.mark.parametrize(
    ("column", "value"), [("vote", 1.0), ("vote", None), ("comment", None), ("comment", "x"), ("vote_time", 5)]
)
def test_another_current_value_is_wrong(column: str, value: object) -> None:
    state = history()
    state.current[1] = state.current[1]._replace(**{column: value})  # type: ignore[arg-type]
    assert state.current[1].source == "lunary"
    verdict = state.verdict()
    assert verdict.current_wrong == 1
    assert (verdict.lost, verdict.twice, verdict.wrong, verdict.unexpected) == (0, 0, 0, 0)


def test_a_trace_without_current_feedback_is_wrong() -> None:
    state = history()
    del state.current[0]
    assert state.verdict().current_wrong == 1


def test_events_that_the_current_feedback_does_not_count_are_wrong() -> None:
    state = history()
    state.current[0] = state.current[0]._replace(events=1)
    assert state.verdict().current_wrong == 1


def test_a_row_of_a_trace_that_nobody_sent_is_unexpected() -> None:
    state = history()
    state.events.append(state.events[0]._replace(trace_id="other"))
    state.current.append(state.current[0]._replace(trace_id="another"))
    assert state.verdict().unexpected == 2


def test_a_row_of_a_refused_request_is_unexpected() -> None:
    kept, refused = sent(thumb(1, at=0), received=10), sent(thumb(-1, at=1), received=11, outcome=Outcome.REFUSED)
    there = stored(kept, sent(thumb(-1, at=1), received=11))
    verdict = compare(expect([kept, refused]), there.events, there.current)
    assert verdict.unexpected == 1


def test_a_request_without_an_answer_may_be_there_or_not_but_once() -> None:
    lost = sent(thumb(-1, at=1), received=11, outcome=Outcome.AMBIGUOUS)
    kept = sent(thumb(1, at=0), received=10)
    expected = expect([kept, lost])
    absent, present = stored(kept), stored(kept, sent(thumb(-1, at=1), received=11))
    without = compare(expected, absent.events, absent.current)
    assert without.faultless
    assert (without.ambiguous_absent, without.ambiguous_present) == (1, 0)
    with_it = compare(expected, present.events, present.current)
    assert with_it.faultless
    assert (with_it.ambiguous_absent, with_it.ambiguous_present, with_it.stored) == (0, 1, 2)
    again = compare(expected, [*present.events, present.events[1]._replace(dedupe_id=9)], present.current)
    assert again.twice == 1


def test_what_the_rows_show_of_a_lost_correction_decides_what_the_current_feedback_must_be() -> None:
    first = sent(thumb(1, at=0), received=10)
    expected = expect([first, sent(thumb(-1, at=0), received=11, outcome=Outcome.AMBIGUOUS)])
    uncorrected, corrected = stored(first), stored(first, sent(thumb(-1, at=0), received=11))
    assert compare(expected, uncorrected.events, uncorrected.current).faultless
    assert compare(expected, corrected.events, corrected.current).faultless
    assert compare(expected, uncorrected.events, corrected.current).current_wrong == 1


def test_details_that_are_no_text_are_compared_as_json() -> None:
    state = stored(sent(patch({"nested": {"a_b": 1}}, at=0), source="lunary", received=1))
    state.events = [state.events[0]._replace(details={"nested": '{ "aB": 1.0 }'})]
    assert state.verdict().faultless
    for wrong in ('{"a_b": 1}', "1", None, "{"):
        state.events = [state.events[0]._replace(details={"nested": wrong})]
        assert state.verdict().wrong == 1


def test_samples_name_traces_and_columns_and_nothing_that_people_wrote() -> None:
    state = history()
    state.events[0] = state.events[0]._replace(comment="secret words")
    (sample,) = state.verdict().samples
    assert TRACE in sample
    assert "comment" in sample
    assert "secret" not in sample
    assert "good" not in sample
