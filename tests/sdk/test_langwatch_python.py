"""The Python package ``langwatch``: its generated REST client, with the headers that its own client sends."""

from __future__ import annotations

import uuid
from http import HTTPStatus

import httpx
import pytest
from langwatch.generated.langwatch_rest_api_client import Client
from langwatch.generated.langwatch_rest_api_client.api.events import post_api_track_event
from langwatch.generated.langwatch_rest_api_client.models import (
    PostApiTrackEventBody,
    PostApiTrackEventBodyEventDetails,
    PostApiTrackEventBodyMetrics,
)

from tests.support.up_stack import Ready

pytestmark = [pytest.mark.sdk, pytest.mark.integration]

_ROWS = "SELECT vote, comment, event_id, toUnixTimestamp64Milli(timestamp) FROM feedback_events FINAL WHERE trace_id = {t:String}"


def _client(stack: Ready, key: str) -> Client:
    return Client(base_url=stack.ingest_url, headers={"Authorization": f"Bearer {key}", "X-Auth-Token": key})


def _body(trace: str, vote: float, event_id: str) -> PostApiTrackEventBody:
    return PostApiTrackEventBody(
        event_type="thumbs_up_down",
        metrics=PostApiTrackEventBodyMetrics.from_dict({"vote": vote}),
        trace_id=trace,
        event_id=event_id,
        event_details=PostApiTrackEventBodyEventDetails.from_dict({"feedback": "This response was helpful!"}),
        timestamp=1617981376000,
    )


def test_the_generated_track_event_arrives_and_a_repeat_corrects_it(stack: Ready) -> None:
    trace = uuid.uuid4().hex
    client = _client(stack, stack.keys["langwatch"])
    for vote in (1, 1, -1):
        answer = post_api_track_event.sync_detailed(client=client, body=_body(trace, vote, "fb-1"))
        assert answer.status_code == HTTPStatus.OK
        assert answer.parsed is not None
        assert answer.parsed.to_dict() == {"message": "Event tracked"}
    wanted = [(-1.0, "This response was helpful!", "fb-1", 1617981376000)]
    assert stack.wait_for_rows(_ROWS + " AND vote = -1", 1, t=trace) == wanted
    assert stack.rows(_ROWS, t=trace) == wanted


def test_the_generated_client_reads_the_refusals(stack: Ready) -> None:
    bad = post_api_track_event.sync(client=_client(stack, stack.keys["langwatch"]), body=_body("t", 2, "fb-2"))
    assert bad is not None
    assert bad.to_dict()["error"].startswith('Validation error: Too big: expected number to be <=1 at "metrics.vote"')
    unknown = post_api_track_event.sync_detailed(client=_client(stack, "sk-lw-unknown"), body=_body("t", 1, "fb-3"))
    assert unknown.status_code == HTTPStatus.UNAUTHORIZED
    assert unknown.parsed is not None


def test_the_generated_call_that_always_sends_an_empty_body_is_told_so_as_the_vendor_does(stack: Ready) -> None:
    # Some releases have `post_api_events_track`, which takes no body: this is what it puts on the wire.
    key = stack.keys["langwatch"]
    answer = httpx.post(
        f"{stack.ingest_url}/api/events/track", headers={"Authorization": f"Bearer {key}", "X-Auth-Token": key}
    )
    assert (answer.status_code, answer.json()) == (400, {"error": "Bad request"})
