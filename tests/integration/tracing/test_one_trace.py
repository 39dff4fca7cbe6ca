"""One trace from the request through the log to the insert, told to a collector by the real processes."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from typing import Any

import httpx
import pytest
import redis

from shared.envelope import FIELD, Envelope, RawEvent, encode
from shared.settings import RedisSettings
from shared.streams import partitions
from tests.support.collector import Collector, Span
from tests.support.door_stack import LEGACY, PUBLIC, Stack

pytestmark = pytest.mark.integration

SENDER = "00f067aa0ba902b7"


def remote(*, sampled: bool = True) -> tuple[str, dict[str, str]]:
    """A trace that a sender has begun, and the header by which it says so."""
    trace = secrets.token_hex(16)
    return trace, {"traceparent": f"00-{trace}-{SENDER}-{'01' if sampled else '00'}"}


def thumbs_up(stack: Stack, trace_id: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    body = {"trace_id": trace_id, "event_type": "thumbs_up_down", "metrics": {"vote": 1}, **more}
    headers = {"X-Auth-Token": LEGACY, **(headers or {})}
    return httpx.post(f"{stack.url}/api/track_event", json=body, headers=headers, timeout=20)


def comments(stack: Stack, count: int, headers: dict[str, str]) -> httpx.Response:
    """A Lunary request of so many events of a kilobyte."""
    events = [
        {"type": "run", "event": "feedback", "runId": secrets.token_hex(16), "feedback": {"comment": "x" * 1000}}
        for _ in range(count)
    ]
    headers = {"Authorization": f"Bearer {PUBLIC}", **headers}
    return httpx.post(f"{stack.url}/v1/runs/ingest", json={"events": events}, headers=headers, timeout=20)


def chain(spans: list[Span]) -> list[tuple[str, str, str]]:
    return [(span.service, span.kind, span.name) for span in spans]


LANGWATCH_CHAIN = [
    ("plaudit-ingest", "SERVER", "POST /api/track_event"),
    ("plaudit-ingest", "PRODUCER", "send plaudit:feedback"),
    ("plaudit-worker", "CONSUMER", "process plaudit:feedback"),
    ("plaudit-worker", "CLIENT", "INSERT feedback_events"),
]


def test_a_request_is_one_trace_from_its_sender_to_the_insert_across_processes(
    stack: Stack, collector: Collector
) -> None:
    trace, headers = remote()
    assert thumbs_up(stack, "whole", headers).status_code == 200
    spans = collector.trace(trace, 4)
    assert chain(spans) == LANGWATCH_CHAIN
    server, send, process, insert = spans
    assert [server.parent, send.parent, process.parent, insert.parent] == [SENDER, server.id, send.id, process.id]
    assert not any(span.failed for span in spans)
    # In the order in which things happened; of processes on one machine, by one clock.
    assert server.start <= send.start <= send.end <= server.end
    assert send.start <= process.start <= insert.start <= insert.end <= process.end
    # What a span of the trace says leads to the row, and back.
    (row,) = stack.wait_for_events("trace_id = 'whole'", 1)
    assert str(row["request_id"]).replace("-", "") == send.attributes["plaudit.request_id"]
    assert row["entry_id"] == process.attributes["messaging.message.id"]
    assert process.attributes["plaudit.request_id"] == send.attributes["plaudit.request_id"]


def test_a_request_without_a_traceparent_begins_a_trace(stack: Stack, collector: Collector) -> None:
    assert thumbs_up(stack, "own", {"traceparent": "00-malformed-01"}).status_code == 200
    (row,) = stack.wait_for_events("trace_id = 'own'", 1)
    request = str(row["request_id"]).replace("-", "")

    def sent(spans: list[Span]) -> list[Span]:
        return [s for s in spans if s.kind == "PRODUCER" and s.attributes["plaudit.request_id"] == request]

    (send,) = sent(collector.wait_for(lambda spans: bool(sent(spans))))
    spans = collector.trace(send.trace, 4)
    assert chain(spans) == LANGWATCH_CHAIN
    assert spans[0].parent == ""


def test_all_parts_of_a_request_are_in_its_trace(stack: Stack, collector: Collector) -> None:
    trace, headers = remote()
    assert comments(stack, 3, headers).status_code == 200
    spans = collector.trace(trace, 8)
    server, send = spans[:2]
    assert (server.name, send.attributes["messaging.batch.message_count"]) == ("POST /v1/runs/ingest", 3)
    parts = [span for span in spans if span.kind == "CONSUMER"]
    inserts = [span for span in spans if span.kind == "CLIENT"]
    assert sorted(span.attributes["plaudit.part"] for span in parts) == [0, 1, 2]
    assert {span.parent for span in parts} == {send.id}
    assert sorted(span.parent for span in inserts) == sorted(span.id for span in parts)
    assert len(spans) == 8


def test_a_sender_that_does_not_trace_is_not_traced(stack: Stack, collector: Collector) -> None:
    quiet, headers = remote(sampled=False)
    assert thumbs_up(stack, "unsampled", headers).status_code == 200
    assert stack.wait_for_events("trace_id = 'unsampled'", 1)
    # A later one that is: by then the first would have been told.
    loud, headers = remote()
    thumbs_up(stack, "after the unsampled", headers)
    assert len(collector.trace(loud, 4)) == 4
    assert collector.trace(quiet, 1, seconds=1) == []


def test_a_refusal_is_a_trace_of_the_request_alone(stack: Stack, collector: Collector) -> None:
    trace, headers = remote()
    refused = thumbs_up(stack, "refused", {**headers, "X-Auth-Token": "sk-lw-" + "0" * 48})
    assert refused.status_code == 401
    (span,) = collector.trace(trace, 1)
    assert span.attributes["http.response.status_code"] == 401
    assert not span.failed


def test_the_feedback_of_a_run_is_a_route_whatever_the_run(stack: Stack, collector: Collector) -> None:
    trace, headers = remote()
    url = f"{stack.url}/v1/runs/0bec4bec-0000-4000-8000-00000000000a/feedback"
    assert httpx.get(url, headers={"Authorization": f"Bearer {PUBLIC}", **headers}).status_code == 200
    (span,) = collector.trace(trace, 1)
    assert span.name == "GET /v1/runs/{run_id}/feedback"
    assert span.attributes["url.path"] == "/v1/runs/0bec4bec-0000-4000-8000-00000000000a/feedback"


def test_an_outage_of_clickhouse_is_told_on_the_insert(stack: Stack, collector: Collector) -> None:
    trace, headers = remote()
    stack.clickhouse.kill()
    try:
        assert thumbs_up(stack, "meanwhile", headers).status_code == 200
        assert len(collector.trace(trace, 2)) == 2
        _until_logged(stack, "circuit_open")
    finally:
        stack.clickhouse.restart()
    spans = collector.trace(trace, 4)
    assert chain(spans) == LANGWATCH_CHAIN
    insert = spans[3]
    assert {event.name for event in insert.events} == {"insert_failed"}
    assert {event.attributes["fault"] for event in insert.events} == {"server"}
    assert [event.attributes["tries"] for event in insert.events] == list(range(1, len(insert.events) + 1))
    assert not insert.failed


def test_what_went_through_the_spool_is_in_the_trace_of_its_request(stack: Stack, collector: Collector) -> None:
    trace, headers = remote()
    stack.valkey.kill()
    try:
        assert thumbs_up(stack, "spooled", headers).status_code == 200
        server, send = collector.trace(trace, 2)
        assert server.attributes["http.response.status_code"] == 200
        assert [event.name for event in send.events] == ["spooled"]
    finally:
        stack.valkey.restart()
    spans = collector.trace(trace, 4, seconds=30)
    assert chain(spans) == LANGWATCH_CHAIN
    assert spans[2].parent == send.id


def test_a_dead_letter_and_its_replay_are_in_the_trace_of_the_request(stack: Stack, collector: Collector) -> None:
    trace, headers = remote()
    # What no door lets in: as if a later release had a format that this one does not know.
    stream = partitions(RedisSettings())[0]
    unknown = Envelope(
        "project_fake",
        "newcomer",
        os.urandom(16),
        1_795_316_670_000_000,
        [RawEvent(0, b'{"said":"what a person wrote"}')],
        traceparent=headers["traceparent"].encode(),
    )
    with redis.Redis.from_url(stack.redis_url) as client:
        client.xadd(stream, {FIELD: encode(unknown)})
    (first,) = collector.trace(trace, 1)
    assert (first.parent, first.failed, first.attributes["error.type"]) == (SENDER, True, "dead_letter")
    command = [sys.executable, "-m", "services.cli", "dead-letters", "replay", f"{unknown.request_id.hex()}:0"]
    subprocess.run(command, env={**os.environ, "PLAUDIT_REDIS_URL": stack.redis_url}, check=True, capture_output=True)
    spans = collector.trace(trace, 2)
    assert [span.attributes.get("plaudit.replayed") for span in spans] == [None, True]
    assert {span.parent for span in spans} == {SENDER}


def test_what_was_told_is_packed_and_holds_no_key_and_no_word_of_anybody(stack: Stack, collector: Collector) -> None:
    said = secrets.token_hex(12)
    trace, headers = remote()
    assert thumbs_up(stack, "private", headers, event_details={"feedback": said}).status_code == 200
    assert len(collector.trace(trace, 4)) == 4
    assert {request["content-encoding"] for request in collector.requests} == {"gzip"}
    told = b"".join(collector.bodies)
    assert trace.encode() not in told
    assert bytes.fromhex(trace) in told
    for secret in (said, LEGACY, PUBLIC, "what a person wrote", "x" * 100, "plaudit:plaudit@"):
        assert secret.encode() not in told, secret


def test_both_count_what_the_collector_took(stack: Stack) -> None:
    text = httpx.get(f"{stack.url}/metrics").text
    counts = {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if line.startswith("plaudit_otel")}
    assert counts['plaudit_otel_spans_total{outcome="exported"}'] > 10
    assert 'plaudit_otel_spans_total{outcome="dropped"}' not in counts


def _until_logged(stack: Stack, text: str) -> None:
    deadline = time.monotonic() + 20
    while text not in stack.log.read_text():
        assert time.monotonic() < deadline, f"{text} was never logged"
        time.sleep(0.05)
