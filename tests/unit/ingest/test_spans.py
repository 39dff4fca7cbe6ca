from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind

from services.ingest_api.outage import SpoolingAppender
from services.ingest_api.replies import AT_ONCE, Header, Message, Receive, Reply, Scope, Send, json_reply, send_reply
from services.ingest_api.spool import Spool
from services.ingest_api.tracing.appends import TracedAppender
from services.ingest_api.tracing.current import note, span_at_hand
from services.ingest_api.tracing.requests import Face, TracedFace
from shared.envelope import Envelope, RawEvent
from shared.errors import StoreUnavailableError
from shared.telemetry import IngestMetrics
from shared.tracing.context import parent, read
from tests.unit.tracing.spans import Kept, context, happened, told

REMOTE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SECRET = "sk-lw-a-secret-that-nobody-may-see"
ROUTE = "/v1/runs/{run_id}/feedback"
REQUEST = {
    "type": "http",
    "method": "GET",
    "query_string": f"key={SECRET}".encode(),
    "scheme": "http",
    "http_version": "1.1",
    "headers": [(b"authorization", f"Bearer {SECRET}".encode())],
}


def answering(status: int) -> Face:
    async def face(scope: Scope, _receive: Receive, send: Send) -> None:
        await send_reply(scope, send, json_reply(status, {}))

    return face


async def serve(
    kept: Kept, face: Face, begin: Context | None, path: str = "/v1/runs/run/feedback", **more: Any
) -> list[Message]:
    """What was sent."""
    sent: list[Message] = []

    def sample(_headers: Sequence[Header]) -> Context | None:
        return begin

    async def receive() -> Message:
        return {"type": "http.request", "body": b"what a person wrote"}

    async def send(message: Message) -> None:
        sent.append(message)

    await TracedFace(face, ROUTE, kept.tracer, sample)({**REQUEST, "path": path, **more}, receive, send)
    return sent


async def test_a_request_that_is_not_traced_is_served_as_it_is() -> None:
    kept = Kept()
    seen: list[bool] = []

    async def face(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(span_at_hand.get() is not None)
        await answering(200)(scope, receive, send)

    assert len(await serve(kept, face, None)) == 2
    assert (seen, kept.spans) == ([False], [])


async def test_a_traced_request_is_a_server_span_by_the_conventions_and_holds_no_secret() -> None:
    kept = Kept()
    sent = await serve(kept, answering(200), Context())
    span = kept.only(f"GET {ROUTE}")
    assert span.kind is SpanKind.SERVER
    assert dict(told(span)) == {
        "http.request.method": "GET",
        "http.route": ROUTE,
        "url.path": "/v1/runs/run/feedback",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "http.response.status_code": 200,
    }
    assert span.status.is_unset
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert SECRET not in span.to_json()


async def test_of_an_endless_path_only_the_beginning_is_told() -> None:
    kept = Kept()
    await serve(kept, answering(200), Context(), path="/v1/runs/" + "x" * 10_000 + "/feedback")
    assert told(kept.only(f"GET {ROUTE}"))["url.path"] == "/v1/runs/" + "x" * 247


async def test_it_is_a_child_of_the_senders_span() -> None:
    kept = Kept()
    await serve(kept, answering(200), read(REMOTE))
    span = kept.only(f"GET {ROUTE}")
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "00f067aa0ba902b7",
    )
    assert context(span).trace_id == span.parent.trace_id


@pytest.mark.parametrize("taken", [True, False])
async def test_an_answer_that_the_server_sends_at_once_is_told_too(taken: bool) -> None:
    kept = Kept()
    sent: list[int] = []

    def at_once(_scope: Scope, answer: Reply) -> bool:
        sent.append(answer.status)
        return taken

    async def face(scope: Scope, _receive: Receive, send: Send) -> None:
        await send_reply(scope, send, json_reply(503, {}))

    messages = await serve(kept, face, Context(), extensions={AT_ONCE: at_once})
    span = kept.only(f"GET {ROUTE}")
    assert (told(span)["http.response.status_code"], told(span)["error.type"]) == (503, "503")
    assert (sent, len(messages)) == ([503], 0 if taken else 2)


@pytest.mark.parametrize(("status", "failed"), [(200, False), (401, False), (429, False), (500, True), (503, True)])
async def test_only_our_own_faults_are_errors(status: int, failed: bool) -> None:
    kept = Kept()
    await serve(kept, answering(status), Context())
    span = kept.only(f"GET {ROUTE}")
    assert told(span)["http.response.status_code"] == status
    assert (span.status.is_unset, told(span).get("error.type")) == ((False, str(status)) if failed else (True, None))


async def test_what_is_raised_is_told_by_its_name_alone() -> None:
    kept = Kept()

    async def face(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ValueError(SECRET)

    with pytest.raises(ValueError, match=SECRET):
        await serve(kept, face, Context())
    span = kept.only(f"GET {ROUTE}")
    assert told(span)["error.type"] == "ValueError"
    assert SECRET not in span.to_json()


async def test_requests_served_at_once_do_not_mix_their_spans() -> None:
    kept, gate = Kept(), asyncio.Event()
    seen: list[tuple[int, int]] = []

    async def face(scope: Scope, receive: Receive, send: Send) -> None:
        before = at_hand()
        await gate.wait()
        seen.append((before, at_hand()))
        await answering(200)(scope, receive, send)

    requests = [asyncio.create_task(serve(kept, face, Context())) for _ in range(5)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*requests)
    assert all(before == after for before, after in seen)
    assert {before for before, _ in seen} == {context(span).span_id for span in kept.spans}
    assert len({context(span).trace_id for span in kept.spans}) == 5


def at_hand() -> int:
    span = span_at_hand.get()
    assert span is not None
    return span.get_span_context().span_id


@contextmanager
def request_span(kept: Kept) -> Iterator[Span]:
    """The span of a request around what is done inside."""
    span = kept.tracer.start_span("request")
    before = span_at_hand.set(span)
    try:
        yield span
    finally:
        span_at_hand.reset(before)
        span.end()


class Log:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.taken: list[Envelope] = []

    async def append(self, envelopes: Sequence[Envelope]) -> None:
        if self.error is not None:
            raise self.error
        self.taken += envelopes


def request(parts: int = 1) -> list[Envelope]:
    return [Envelope("p", "lunary", bytes(16), 1, [RawEvent(part, b"{}")], part) for part in range(parts)]


async def test_what_is_not_traced_is_appended_untouched() -> None:
    kept, log = Kept(), Log()
    sent = request(2)
    await TracedAppender(log, kept.tracer, "plaudit:feedback").append(sent)
    assert all(taken is envelope for taken, envelope in zip(log.taken, sent, strict=True))
    assert kept.spans == []


async def test_all_parts_of_a_traced_request_carry_the_span_of_their_append() -> None:
    kept, log = Kept(), Log()
    with request_span(kept) as around:
        await TracedAppender(log, kept.tracer, "plaudit:feedback").append(request(3))
    span = kept.only("send plaudit:feedback")
    assert span.kind is SpanKind.PRODUCER
    assert span.parent == around.get_span_context()
    assert dict(told(span)) == {
        "messaging.system": "redis",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "plaudit:feedback",
        "messaging.batch.message_count": 3,
        "plaudit.source": "lunary",
        "plaudit.request_id": "0" * 32,
        "plaudit.events": 3,
    }
    assert [envelope.part for envelope in log.taken] == [0, 1, 2]
    for envelope in log.taken:
        carried = read(envelope.traceparent)
        assert carried is not None
        assert parent(carried).span_id == context(span).span_id
        assert parent(carried).trace_id == context(span).trace_id
        assert parent(carried).trace_flags.sampled


async def test_an_append_that_fails_says_why() -> None:
    kept = Kept()
    appender = TracedAppender(Log(StoreUnavailableError("redis", "away")), kept.tracer, "plaudit:feedback")
    with request_span(kept), pytest.raises(StoreUnavailableError):
        await appender.append(request())
    span = kept.only("send plaudit:feedback")
    assert told(span)["error.type"] == "StoreUnavailableError"
    assert span.status.description == "redis: away"


async def test_a_request_that_is_spooled_says_so_and_takes_its_trace_along(tmp_path: Path) -> None:
    kept, log, spool = Kept(), Log(StoreUnavailableError("redis", "away")), Spool(tmp_path, capacity=1 << 20)
    tick = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        await tick.wait()
        tick.clear()

    spooling = SpoolingAppender(log, spool, IngestMetrics(), note=note, sleep=sleep)
    running = asyncio.create_task(spooling.run())
    with request_span(kept):
        await TracedAppender(spooling, kept.tracer, "plaudit:feedback").append(request())
    span = kept.only("send plaudit:feedback")
    assert happened(span) == [("spooled", {})]
    assert span.status.is_unset
    log.error = None
    tick.set()
    async with asyncio.timeout(5):
        while not log.taken:
            await asyncio.sleep(0.001)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    spool.close()
    carried = read(log.taken[0].traceparent)
    assert carried is not None
    assert parent(carried).span_id == context(span).span_id
