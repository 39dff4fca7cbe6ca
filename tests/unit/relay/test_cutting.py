from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from services.ingest_api.relay.capture import Kept
from services.ingest_api.relay.cutting import lunary_cutter, nothing, otlp_cutter
from services.ingest_api.replies import RefusedError
from shared.errors import PlauditError

_cut_lunary = lunary_cutter(1_000_000)
_cut_otlp = otlp_cutter(1_000_000)
_JSON = {b"content-type": b"application/json"}

_RUN = b'{"event":"start", "runId":"r", "n": 12345678901234567890, "x":1.50}'
_FEEDBACK = b'{"event":"feedback","runId":"r","feedback":{"thumb":"up"}}'


def test_a_request_without_feedback_goes_on_as_it_came() -> None:
    body = gzip.compress(b'{"events": [' + _RUN + b"]}")
    assert _cut_lunary(body, {b"content-encoding": b"gzip"}) == Kept(body, plain=False)


def test_events_that_are_feedback_go_and_the_others_stay_byte_for_byte() -> None:
    body = b'{"events": [' + _RUN + b", " + _FEEDBACK + b"]}"
    assert _cut_lunary(body, {}) == Kept(b'{"events":[' + _RUN + b"]}", plain=True)
    assert _cut_lunary(gzip.compress(body), {b"content-encoding": b"gzip"}) == Kept(
        b'{"events":[' + _RUN + b"]}", plain=True
    )


@pytest.mark.parametrize("events", [b"[" + _FEEDBACK + b"]", _FEEDBACK, b"[[" + _FEEDBACK + b"]]"])
def test_a_request_of_nothing_but_feedback_does_not_go_on(events: bytes) -> None:
    assert _cut_lunary(b'{"events":' + events + b"}", {}) is None


def test_feedback_inside_a_chat_message_goes_and_the_message_stays() -> None:
    chat = {"event": "chat", "feedback": {"thumb": "up"}, "message": {"id": "m", "feedback": {"thumb": "up"}}, "n": 1}
    kept = _cut_lunary(json.dumps({"events": [chat]}).encode(), {})
    assert kept is not None
    assert json.loads(kept.body) == {"events": [{"event": "chat", "message": {"id": "m"}, "n": 1}]}


def test_feedback_whose_name_is_written_with_escapes_goes_too() -> None:
    body = b'{"events":[{"event":"\\u0066eedback","runId":"r","\\u0066eedback":{"thumb":"up"}}]}'
    assert _cut_lunary(body, {}) is None


def test_the_word_feedback_in_a_prompt_changes_nothing() -> None:
    body = b'{"events":[{"event":"start","input":"give feedback"}]}'
    assert _cut_lunary(body, {}) == Kept(body, plain=False)


@pytest.mark.parametrize("body", [b"{", b"feedback", b'{"feedback":1}'])
def test_what_cannot_be_read_is_told_and_does_not_go_on(body: bytes) -> None:
    with pytest.raises((PlauditError, RefusedError)):
        _cut_lunary(body if b"feedback" in body else b"feedback" + body, {})


def _traces(*events: dict[str, Any]) -> dict[str, Any]:
    span = {"traceId": "8da308af48e0dd6d480998e3fab3c2ec", "spanId": "12faf622ddc83486", "events": list(events)}
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}


def test_span_events_that_are_feedback_are_cut_out_of_json_and_the_numbers_stay_exact() -> None:
    other = {"name": "log", "timeUnixNano": 1795317143359784335}
    body = json.dumps(_traces({"name": "langwatch.event"}, other)).encode()
    kept = _cut_otlp(body, _JSON)
    assert kept is not None
    assert json.loads(kept.body) == _traces(other)


def test_span_events_that_are_feedback_are_cut_out_of_protobuf() -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

    def request(*names: str) -> ExportTraceServiceRequest:
        span = Span(name="s", trace_id=b"1" * 16, events=[Span.Event(name=name) for name in names])
        return ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[span])])])

    kept = _cut_otlp(request("a", "langwatch.event", "b").SerializeToString(), {})
    assert kept is not None
    assert ExportTraceServiceRequest.FromString(kept.body) == request("a", "b")
    body = request("a").SerializeToString()
    assert _cut_otlp(body, {}) == Kept(body, plain=False)


def test_a_tracked_event_is_nothing_but_feedback() -> None:
    assert nothing(b"{}", {}) is None  # type: ignore[func-returns-value]
