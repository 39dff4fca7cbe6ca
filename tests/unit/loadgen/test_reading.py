from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from services.loadgen.reading import AsJson, Reading, read


def langwatch(**fields: Any) -> Reading:
    event = {"trace_id": "t", "event_type": "thumbs_up_down", "metrics": {"vote": 1}, **fields}
    reading = read("langwatch", json.dumps(event).encode())
    assert reading is not None
    return reading


def lunary(**fields: Any) -> Reading | None:
    return read("lunary", json.dumps({"event": "feedback", "runId": "r", **fields}).encode())


def patch(value: dict[str, Any], **fields: Any) -> Reading:
    reading = lunary(feedback=value, **fields)
    assert reading is not None
    return reading


def test_langwatch_vote_and_comment_are_those_of_a_thumb_only() -> None:
    thumb = langwatch(metrics={"vote": 0}, event_details={"feedback": ""})
    custom = langwatch(event_type="rating", metrics={"vote": 0}, event_details={"feedback": "x"})
    assert (thumb.vote, thumb.comment) == (0.0, "")
    assert (custom.vote, custom.comment) == (None, None)
    assert custom.metrics == {"vote": 0.0}
    assert custom.details == {"feedback": "x"}


def test_langwatch_null_comment_says_nothing_about_the_comment() -> None:
    assert langwatch(event_details={"feedback": None}).comment is None
    assert langwatch().comment is None


@pytest.mark.parametrize(
    ("fields", "identity"),
    [
        ({"event_id": "e", "timestamp": 5}, ("id", "e")),
        ({"event_id": "", "timestamp": 5}, ("time", "thumbs_up_down", Decimal(5))),
        ({"event_id": ""}, None),
        ({"timestamp": 5.25}, ("time", "thumbs_up_down", Decimal("5.25"))),
        ({"timestamp": 5.0}, ("time", "thumbs_up_down", Decimal(5))),
        ({"timestamp": 2**53 + 1}, ("time", "thumbs_up_down", Decimal(2**53))),
    ],
)
def test_langwatch_identity_is_the_id_else_the_exact_time(fields: dict[str, Any], identity: object) -> None:
    assert langwatch(**fields).identity == identity


def test_langwatch_user_is_user_id_or_customer_id_when_a_text() -> None:
    assert langwatch(customer_id="c").user_id == "c"
    assert langwatch(user_id="u", customer_id="c").user_id == "u"
    assert langwatch(user_id=5, thread_id=None).user_id is None
    assert langwatch(user_id="", customer_id="c").user_id == "c"
    assert (langwatch(customer_id="", thread_id="").user_id, langwatch(thread_id="").thread_id) == (None, None)


@pytest.mark.parametrize(("thumb", "vote"), [("up", 1.0), ("down", -1.0), (None, 0.0), ("sideways", None)])
def test_lunary_thumb(thumb: str | None, vote: float | None) -> None:
    reading = patch({"thumb": thumb})
    assert reading.vote == vote
    assert reading.details == ({"thumb": "sideways"} if vote is None else {})


def test_lunary_null_comment_takes_it_back() -> None:
    assert patch({"comment": None}).comment == ""
    assert patch({"thumb": "up"}).comment is None


def test_lunary_other_keys_are_camel_cased_and_kept_as_metrics_and_details() -> None:
    reading = patch({"my_rating": 0, "is-good": True, "nested": {"a_b": [{"c_d": None}]}, "none": None, "text": "5"})
    assert reading.metrics == {"myRating": 0.0, "isGood": 1.0}
    assert reading.details == {
        "myRating": AsJson(0),
        "isGood": AsJson(True),
        "nested": AsJson({"aB": [{"cD": None}]}),
        "none": None,
        "text": "5",
    }


def test_lunary_extra_goes_over_feedback() -> None:
    assert patch({"thumb": "up"}, extra={"thumb": "down"}).vote == -1.0


@pytest.mark.parametrize("fields", [{}, {"feedback": None}, {"feedback": {}}, {"event": "start", "feedback": {"a": 1}}])
def test_lunary_events_that_say_nothing_are_no_feedback(fields: dict[str, Any]) -> None:
    assert lunary(**fields) is None


def test_lunary_feedback_inside_a_chat_event_is_feedback() -> None:
    assert patch({"thumb": "down"}, event="chat").event_type == "feedback"


def test_lunary_uuids_are_lower_cased_and_other_run_ids_are_not() -> None:
    uuid = "AAAAAAAA-BBBB-4CCC-8DDD-EEEEEEEEEEEE"
    assert patch({"thumb": "up"}, runId=uuid).trace_id == uuid.lower()
    assert patch({"thumb": "up"}, runId="Chatcmpl-X").trace_id == "Chatcmpl-X"


def test_lunary_times_are_one_instant_however_they_are_written() -> None:
    spellings = [1795316515355.5, "2026-11-22T03:01:55.355500+00:00", "2026-11-22T04:01:55.3555+01:00"]
    identities = {patch({"thumb": "up"}, timestamp=spelling).identity for spelling in spellings}
    assert len(identities) == 1


def test_lunary_patches_of_different_keys_at_one_instant_are_two_events() -> None:
    assert patch({"thumb": "up"}, timestamp=5).identity != patch({"comment": "x"}, timestamp=5).identity
    assert (
        patch({"a": 1, "thumb": "up"}, timestamp=5).identity == patch({"thumb": "down", "a": 2}, timestamp=5).identity
    )


def test_half_a_surrogate_pair_reads_as_the_replacement_character() -> None:
    raw = b'{"trace_id":"t","event_type":"thumbs_up_down","metrics":{"vote":1},"event_details":{"feedback":"x\\ud83d"}}'
    reading = read("langwatch", raw)
    assert reading is not None
    assert reading.comment == "x�"


def test_times_beyond_the_column_are_saturated_and_keep_their_identity() -> None:
    one, other = langwatch(timestamp=1795316515355000), langwatch(timestamp=1795316515356000)
    assert one.moment is not None
    assert other.moment is not None
    assert one.moment.saturated
    assert one.moment.micros == other.moment.micros == 10_413_791_999_999_999
    assert one.identity != other.identity
