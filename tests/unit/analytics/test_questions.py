from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics.breakdown import Dimension, _labels
from services.analytics.errors import ApiError
from services.analytics.filters import Filters, VoteFilter
from services.analytics.listing import Place
from services.analytics.period import Period
from services.analytics.story import merged
from services.analytics.tail import _read_id

PERIOD = Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))


@given(st.text(), st.text(), st.text(), st.text())
def test_no_value_is_part_of_a_condition(user: str, trace: str, search: str, event_type: str) -> None:
    plain = Filters(PERIOD, user_id="u", trace_id="t", search="s", event_type="e").condition("p").sql
    odd = Filters(PERIOD, user_id=user, trace_id=trace, search=search or "s", event_type=event_type).condition("p")
    assert odd.sql == plain
    assert odd.parameters["user_id"] == user


def test_current_filters_look_at_the_trace() -> None:
    asked = Filters(PERIOD, vote=VoteFilter.DOWN, has_comment=True, current=True).condition("p").sql
    assert "current_vote < 0" in asked
    assert "ifNull(current_comment, '') != ''" in asked


@given(st.integers(0, 10**16), st.integers(0, (1 << 128) - 1))
def test_a_cursor_gives_back_its_place(time: int, dedupe_id: int) -> None:
    assert Place.read(Place(time, dedupe_id).cursor()) == (time, dedupe_id)


@given(st.text(max_size=30))
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        Place.read(text)
    assert refused.value.status == 400


@pytest.mark.parametrize("text", ["vote", "detail:", "metric", "details:model", "", "project_id", "raw"])
def test_only_known_dimensions_are_taken(text: str) -> None:
    with pytest.raises(ApiError):
        Dimension.read(text)


def test_a_key_may_hold_colons() -> None:
    assert Dimension.read("detail:a:b").key == "a:b"


def test_ranges_are_labelled_from_bound_to_bound() -> None:
    assert _labels([0.0, 1.5, 10.0]) == ["0 to 1.5", "1.5 to 10", "10 and more"]


def test_the_last_word_on_each_name_holds() -> None:
    events: list[dict[str, Any]] = [
        {"details": {"a": "1", "b": "2"}, "metrics": {}},
        {"details": {"a": None}, "metrics": {"stars": 3.0}},
    ]
    assert merged(events) == {"a": None, "b": "2", "stars": 3.0}


@pytest.mark.parametrize("text", ["1", "1-", "x-" + "0" * 32, "1-" + "g" * 32, "9" * 30 + "-" + "0" * 32])
def test_an_event_id_that_was_never_given_is_refused(text: str) -> None:
    with pytest.raises(ApiError):
        _read_id(text)
