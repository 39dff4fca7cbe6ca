from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shared.errors import InvalidEventError, MalformedJSONError
from shared.events import FeedbackEvent, Receipt, Source, TimeStatus
from shared.formats import NORMALIZERS
from shared.formats.langwatch import parse

_SENTENCES = Path(__file__).with_name("zod_sentences.jsonl")
"""Bodies with what zod 3.25.76 (both its versions) and zod-validation-error 3.5.4 say of them; null: nothing."""


def _normalized(body: str | bytes | dict[str, Any], index: int = 0) -> FeedbackEvent:
    raw = json.dumps(body).encode() if isinstance(body, dict) else body.encode() if isinstance(body, str) else body
    receipt = Receipt(
        project_id="p", source=Source.LANGWATCH, request_id=bytes(16), received_at=1_795_316_670_092_000, entry_id="1-0"
    )
    event = NORMALIZERS[Source.LANGWATCH](receipt, index, raw)
    assert event is not None
    return event


def _thumb(vote: Any = 1, **more: Any) -> dict[str, Any]:
    return {"trace_id": "t", "event_type": "thumbs_up_down", "metrics": {"vote": vote}, **more}


@pytest.mark.parametrize("line", _SENTENCES.read_text(encoding="utf-8").splitlines())
def test_refusals_are_worded_as_zod_words_them(line: str) -> None:
    case = json.loads(line)
    try:
        parse(case["body"].encode())
        sentence = None
    except InvalidEventError as error:
        sentence = error.message
    assert sentence == case["sentence"]


@pytest.mark.parametrize("vote", [1, -1, 0, 0.5, -0.25])
def test_a_vote_in_range_is_the_vote_zero_included(vote: float) -> None:
    event = _normalized(_thumb(vote))
    assert (event.vote, event.metrics) == (vote, {"vote": vote})


def test_other_types_say_nothing_about_the_vote_and_keep_their_zeros() -> None:
    event = _normalized({"trace_id": "t", "event_type": "waited_to_finish", "metrics": {"finished": 0, "vote": 1}})
    assert (event.vote, event.comment, event.metrics) == (None, None, {"finished": 0.0, "vote": 1.0})


@pytest.mark.parametrize(
    ("details", "comment"), [({}, None), ({"feedback": None}, None), ({"feedback": ""}, ""), ({"feedback": "x"}, "x")]
)
def test_the_comment_is_the_feedback_detail(details: dict[str, str | None], comment: str | None) -> None:
    event = _normalized(_thumb(event_details=details))
    assert (event.comment, event.details) == (comment, details)


def test_user_and_conversation_are_taken_from_fields_that_the_vendor_ignores() -> None:
    event = _normalized(_thumb(user_id="u", thread_id="th", customer_id="c"))
    assert (event.user_id, event.thread_id) == ("u", "th")


@pytest.mark.parametrize("nobody", [None, "", 5, True, [], {"a": 1}])
def test_the_vendor_passes_over_user_and_conversation_whatever_they_are_and_nobody_is_named_by_it(nobody: Any) -> None:
    event = _normalized(_thumb(user_id=nobody, customer_id=nobody, thread_id=nobody))
    assert (event.user_id, event.thread_id) == (None, None)
    assert _normalized(_thumb(user_id=nobody, customer_id="c")).user_id == "c"


def test_an_event_id_identifies_whatever_the_time() -> None:
    first, second = (_normalized(_thumb(event_id="e", timestamp=time)) for time in (1_700_000_000_000, 1))
    assert first.dedupe_id == second.dedupe_id
    assert (first.event_id, _normalized(_thumb(event_id="")).event_id) == ("e", None)


def test_times_are_milliseconds_and_exact() -> None:
    assert _normalized(_thumb(timestamp=1617981376000.5)).timestamp == 1_617_981_376_000_500
    assert _normalized(_thumb(timestamp=0)).time_status is TimeStatus.PAST
    assert _normalized(_thumb()).time_status is TimeStatus.NONE


def test_microseconds_sent_as_milliseconds_stay_different_events() -> None:
    first, second = (_normalized(_thumb(timestamp=time)) for time in (1_700_000_000_000_001, 1_700_000_000_000_002))
    assert first.time_status is TimeStatus.OUT_OF_RANGE
    assert first.dedupe_id != second.dedupe_id


@pytest.mark.parametrize("timestamp", ["-1", "-0.001", "1e999", "-1e999"])
def test_times_that_cannot_be_kept_are_refused_at_once(timestamp: str) -> None:
    body = f'{{"trace_id":"t","event_type":"c","metrics":{{}},"timestamp":{timestamp}}}'
    with pytest.raises(InvalidEventError, match='at "timestamp"'):
        parse(body.encode())


def test_infinite_metrics_and_prototype_keys_are_left_out_but_stay_in_the_raw_event() -> None:
    body = '{"trace_id":"t","event_type":"c","metrics":{"a":1e999,"__proto__":1,"b":2,"c":%s}}' % ("9" * 400)
    event = _normalized(body)
    assert event.metrics == {"b": 2.0}
    assert event.raw == body.encode()


def test_lone_surrogates_invalid_bytes_and_nul_are_readable() -> None:
    body = b'\xef\xbb\xbf{"trace_id":"\xff","event_type":"c\\u0000","metrics":{},"event_details":{"k":"cut \\ud83d"}}'
    event = _normalized(body)
    assert (event.trace_id, event.event_type, event.details) == ("\ufffd", "c\0", {"k": "cut \ufffd"})
    assert event.raw == body


def test_a_thousand_metrics_and_a_long_comment_are_fine() -> None:
    metrics = {f"m{number}": number for number in range(1000)}
    event = _normalized({"trace_id": "t", "event_type": "c", "metrics": metrics, "event_details": {"x": "y" * 500_000}})
    assert len(event.metrics) == 1000


def test_nesting_without_end_is_refused_clearly() -> None:
    body = b'{"trace_id":"t","event_type":"c","metrics":{},"x":' + b"[" * 5000 + b"]" * 5000 + b"}"
    with pytest.raises(MalformedJSONError, match="nested deeper than 250"):
        parse(body)
