"""Feedback in OTLP by the rules of the vendor's contract, from both encodings."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from shared.errors import InvalidEventError, MalformedJSONError
from shared.events import Receipt
from shared.formats import langwatch, otlp_traces
from shared.formats.otlp import read_json, read_protobuf
from shared.formats.otlp_events import tracked_events

_TRACE = "8da308af48e0dd6d480998e3fab3c2ec"
_SPAN = "12faf622ddc83486"
_RECEIPT = Receipt(project_id="p", source="langwatch", request_id=bytes(16), received_at=1, entry_id="")


def _event(*attributes: tuple[str, dict[str, Any]], name: str = "langwatch.event", **more: Any) -> dict[str, Any]:
    listed = [{"key": key, "value": value} for key, value in attributes]
    return {"name": name, "timeUnixNano": "1795317143359784335", "attributes": listed} | more


def _vote(value: dict[str, Any]) -> dict[str, Any]:
    return _event(("event.type", {"stringValue": "thumbs_up_down"}), ("event.metrics.vote", value))


def _body(*events: dict[str, Any], **span: Any) -> bytes:
    one = {"traceId": _TRACE, "spanId": _SPAN, "name": "chat", "events": list(events)} | span
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [one]}]}]}).encode()


def _accepted(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(raw) for raw in tracked_events(read_json(body)).accepted]


@pytest.mark.parametrize(
    "value",
    [{"doubleValue": 1}, {"doubleValue": 1.0}, {"intValue": 1}, {"intValue": "1"}, {"intValue": {"low": 1, "high": 0}}],
)
def test_a_vote_in_every_form_in_which_exporters_write_numbers(value: dict[str, Any]) -> None:
    (tracked,) = _accepted(_body(_vote(value)))
    assert tracked["metrics"] == {"vote": 1}


def test_a_negative_number_in_two_halves() -> None:
    (tracked,) = _accepted(_body(_vote({"intValue": {"low": -1, "high": -1}})))
    assert tracked["metrics"] == {"vote": -1}


@pytest.mark.parametrize(
    "value", [{"stringValue": "1"}, {"boolValue": True}, {}, {"intValue": "x"}, {"doubleValue": 7}]
)
def test_what_is_no_vote_by_the_rules_is_refused_alone(value: dict[str, Any]) -> None:
    found = tracked_events(read_json(_body(_vote(value), _vote({"doubleValue": 1}))))
    assert (len(found.accepted), found.refused) == (1, 1)


@pytest.mark.parametrize(
    "event",
    [
        _event(("event.metrics.vote", {"doubleValue": 1})),
        _event(("event.type", {"stringValue": ""})),
        _event(("event.type", {"stringValue": "langwatch.event"})),
        _event(("event.type", {"intValue": 1})),
        _event(("event.type", {"stringValue": "custom"}), name="thumbs_up_down"),
    ],
)
def test_span_events_that_are_no_feedback_are_passed_over(event: dict[str, Any]) -> None:
    assert tracked_events(read_json(_body(event))) == ([], 0)


def test_the_vendors_own_synthetic_spans_are_passed_over() -> None:
    assert _accepted(_body(_vote({"doubleValue": 1}), name="langwatch.track_event")) == []


def test_details_are_texts_and_bare_prefixes_are_ignored() -> None:
    event = _event(
        ("event.type", {"stringValue": "custom"}),
        ("event.metrics.", {"doubleValue": 1}),
        ("event.metrics.zero", {"doubleValue": 0}),
        ("event.details.", {"stringValue": "x"}),
        ("event.details.a", {"stringValue": "é"}),
        ("event.details.b", {"intValue": 1}),
    )
    (tracked,) = _accepted(_body(event))
    assert tracked["metrics"] == {"zero": 0}
    assert tracked["event_details"] == {"a": "é"}


def test_the_identity_is_that_of_the_vendor_and_the_time_that_of_the_span_event() -> None:
    vote = {"doubleValue": 1}
    first, second = tracked_events(read_json(_body({"name": "log"}, _vote(vote), _vote(vote)))).accepted
    stored = langwatch.normalize(_RECEIPT, 0, first)
    assert (
        stored.event_id == "event_sha_" + hashlib.sha256(f"{_TRACE}:{_SPAN}:thumbs_up_down:1".encode()).hexdigest()[:32]
    )
    assert stored.timestamp == 1795317143359784
    assert stored.dedupe_id != langwatch.normalize(_RECEIPT, 0, second).dedupe_id
    assert stored.dedupe_id == langwatch.normalize(_RECEIPT, 5, first).dedupe_id


def test_an_event_without_a_time_is_of_when_it_was_received() -> None:
    (tracked,) = _accepted(_body(_vote({"doubleValue": 1}) | {"timeUnixNano": 0}))
    assert "timestamp" not in tracked


@pytest.mark.parametrize("trace_id", [_TRACE.upper(), base64.b64encode(bytes.fromhex(_TRACE)).decode()])
def test_ids_in_other_spellings_are_the_same_trace(trace_id: str) -> None:
    (tracked,) = _accepted(_body(_vote({"doubleValue": 1}), traceId=trace_id))
    assert tracked["trace_id"] == _TRACE


def _protobuf(*events: Span.Event, attributes: list[KeyValue] | None = None) -> bytes:
    span = Span(
        trace_id=bytes.fromhex(_TRACE), span_id=bytes.fromhex(_SPAN), name="chat", events=events, attributes=attributes
    )
    return bytes(
        ExportTraceServiceRequest(
            resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[span])])]
        ).SerializeToString()
    )


def test_protobuf_and_json_of_one_span_give_the_same_event() -> None:
    event = Span.Event(
        name="langwatch.event",
        time_unix_nano=1795317143359784335,
        attributes=[
            KeyValue(key="event.type", value=AnyValue(string_value="thumbs_up_down")),
            KeyValue(key="event.metrics.vote", value=AnyValue(int_value=1)),
        ],
    )
    user = KeyValue(key="langwatch.user.id", value=AnyValue(string_value="ada"))
    packed = tracked_events(read_protobuf(_protobuf(event, attributes=[user])))
    written = tracked_events(
        read_json(
            _body(
                _vote({"intValue": "1"}),
                attributes=[{"key": "langwatch.user.id", "value": {"stringValue": "ada"}}],
            )
        )
    )
    assert packed == written
    assert langwatch.normalize(_RECEIPT, 0, packed.accepted[0]).user_id == "ada"


def test_bodies_that_are_no_traces_are_refused() -> None:
    with pytest.raises(InvalidEventError):
        read_protobuf(b"\xff\xff\xff")
    with pytest.raises(MalformedJSONError):
        read_json(b"{")
    for body in (b"[]", b"1", b'{"resourceSpans":1}', b'{"resourceSpans":[{"scopeSpans":[{"spans":["x"]}]}]}'):
        with pytest.raises(InvalidEventError):
            read_json(body)


def test_no_traces_are_fine() -> None:
    assert read_protobuf(b"") == []
    assert read_json(b"{}") == []
    assert read_json(b'{"resourceSpans":null}') == []


def test_what_spans_tell_of_their_trace_is_one_record_without_text() -> None:
    def attribute(key: str, text: str) -> dict[str, Any]:
        return {"key": key, "value": {"stringValue": text}}

    root = {
        "traceId": _TRACE,
        "spanId": _SPAN,
        "name": "support",
        "attributes": [
            attribute("langwatch.input", "secret"),
            attribute("metadata", '{"user_id":"ada","labels":["b","a"],"release":"r7","note":"secret"}'),
        ],
    }
    call = {
        "traceId": _TRACE,
        "spanId": "00",
        "parentSpanId": _SPAN,
        "name": "llm",
        "attributes": [
            attribute("gen_ai.request.model", "gpt-5"),
            attribute("langwatch.prompt.handle", "greeting"),
            {"key": "langwatch.prompt.version.number", "value": {"intValue": "3"}},
        ],
    }
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [call, root]}]}]}).encode()
    (record,) = otlp_traces.records(read_json(body), ["release"])
    assert (record.trace_id, record.name, record.model) == (_TRACE, "support", "gpt-5")
    assert (record.prompt, record.version, record.user_id, record.tags) == ("greeting", "3", "ada", ("a", "b"))
    assert record.metadata == (("release", "r7"),)
    assert "secret" not in repr(record)
