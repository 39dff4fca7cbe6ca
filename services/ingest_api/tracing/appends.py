"""A span around the append of a request that is traced, which the envelopes carry on to the worker."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from msgspec.structs import replace
from opentelemetry.trace import Span, SpanKind, Tracer, set_span_in_context

from services.ingest_api.publisher import Appender
from shared.envelope import Envelope
from shared.tracing.context import write

from .current import at_hand, span_at_hand


class TracedAppender:
    """``destination``: the name of the log. What has no span around it, such as what was learnt beside the requests, is
    appended as it is.
    """

    def __init__(self, appender: Appender, tracer: Tracer, destination: str) -> None:
        self._appender = appender
        self._tracer = tracer
        self._destination = destination

    def append(self, envelopes: Sequence[Envelope]) -> Awaitable[None]:
        """See Appender."""
        around = span_at_hand.get()
        if around is None:
            return self._appender.append(envelopes)
        return self._traced(around, envelopes)

    async def _traced(self, around: Span, envelopes: Sequence[Envelope]) -> None:
        span = self._span(around, envelopes)
        with at_hand(span):
            traceparent = write(span)
            await self._appender.append([replace(envelope, traceparent=traceparent) for envelope in envelopes])

    def _span(self, around: Span, envelopes: Sequence[Envelope]) -> Span:
        first = envelopes[0]
        attributes: dict[str, str | int] = {
            "messaging.system": "redis",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": self._destination,
            "plaudit.source": first.source,
            "plaudit.request_id": first.request_id.hex(),
            "plaudit.events": sum([len(envelope.events) for envelope in envelopes]),
        }
        if len(envelopes) > 1:
            attributes["messaging.batch.message_count"] = len(envelopes)
        parent = set_span_in_context(around)
        return self._tracer.start_span(f"send {self._destination}", parent, SpanKind.PRODUCER, attributes)
