"""LangWatch's face for traces: ``POST /api/otel/v1/traces``, of which the feedback is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from shared.envelope import RawEvent
from shared.errors import InvalidEventError, MalformedJSONError
from shared.events import Source
from shared.formats.otlp import Span, is_json, read_json, read_protobuf
from shared.formats.otlp_events import TrackedEvents, tracked_events

from .body import inflate
from .door import Door, blanked
from .langwatch import Admitted, admit, langwatch_error, refusal_reply
from .replies import ClientGoneError, Receive, RefusedError, Reply, Scope, Send, json_reply, reply, send_reply

log = structlog.get_logger()

_RECEIVED_JSON = json_reply(
    200, {"message": "Trace received successfully.", "partialSuccess": {"rejectedSpans": 0, "errorMessage": ""}}
)
_RECEIVED_PROTOBUF = reply(200, b"", b"application/x-protobuf")
"""An ExportTraceServiceResponse without partial_success: everything was taken. Its encoding has no bytes."""

_LARGE_BODY = 64 * 1024
"""Bytes from which traces are read in a thread, so that other requests are served meanwhile."""


class TracesFace:
    """Spans are the vendor's: what Plaudit keeps of them is feedback. Where nothing else takes them, they end here."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        try:
            admitted = await admit(self._door, headers)
            answer = admitted if isinstance(admitted, Reply) else await self._take(admitted, headers, receive)
        except RefusedError as refusal:
            answer = refusal_reply(refusal)
        except (InvalidEventError, MalformedJSONError) as refusal:
            answer = langwatch_error(400, str(refusal))
        except ClientGoneError:
            return
        self._door.tally.requests["langwatch", answer.status] += 1
        await send_reply(scope, send, answer)

    async def _take(self, sender: Admitted, headers: Mapping[bytes, bytes], receive: Receive) -> Reply:
        limit = self._door.settings.ingest_body_limit_otlp
        body = await self._door.bodies.read(receive, limit, headers.get(b"content-length"))
        json, encoding = is_json(headers), headers.get(b"content-encoding", b"")
        if len(body) < _LARGE_BODY:
            spans, tracked = _read(body, encoding, limit, json=json)
        else:
            spans, tracked = await asyncio.to_thread(_read, body, encoding, limit, json=json)
        if tracked.accepted:
            events = [RawEvent(place, blanked(raw, sender.token)) for place, raw in enumerate(tracked.accepted)]
            await self._door.take(Source.LANGWATCH, [(sender.project_id, event) for event in events])
        if self._door.learner is not None:
            self._door.learner.learn_spans(spans, sender.project_id)
        tally = self._door.tally.events
        tally["langwatch", "accepted"] += len(tracked.accepted)
        tally["langwatch", "refused"] += tracked.refused
        tally["langwatch", "skipped"] += len(spans)
        if tracked.refused:
            # The vendor answers 200 all the same and drops them: a span is not refused for one event in it.
            log.info("span_events_refused", project=sender.project_id, events=tracked.refused)
        return _RECEIVED_JSON if json else _RECEIVED_PROTOBUF


def _read(body: bytes, encoding: bytes, limit: int, *, json: bool) -> tuple[list[Span], TrackedEvents]:
    plain = inflate(body, encoding, limit)
    spans = read_json(plain) if json else read_protobuf(plain)
    return spans, tracked_events(spans)
