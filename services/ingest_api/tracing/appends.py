"""A span around the append of a request that is traced, which the envelopes carry on to the worker."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from msgspec.structs import replace
from opentelemetry.trace import Span, SpanKind, Tracer, get_current_span, use_span

from services.ingest_api.publisher import Appender
from shared.envelope import Envelope
from shared.errors import StoreUnavailableError
from shared.tracing.context import write
from shared.tracing.tracing import failed


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
        if not get_current_span().is_recording():
            return self._appender.append(envelopes)
        return self._traced(envelopes)

    async def _traced(self, envelopes: Sequence[Envelope]) -> None:
        span = self._span(envelopes)
        try:
            traceparent = write(span)
            with use_span(span, record_exception=False, set_status_on_exception=False):
                await self._appender.append([replace(envelope, traceparent=traceparent) for envelope in envelopes])
        except StoreUnavailableError as error:
            failed(span, type(error).__qualname__, str(error))
            raise
        except BaseException as error:
            failed(span, type(error).__qualname__)
            raise
        finally:
            span.end()

    def _span(self, envelopes: Sequence[Envelope]) -> Span:
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
        return self._tracer.start_span(f"send {self._destination}", None, SpanKind.PRODUCER, attributes)


def note(event: str) -> None:
    """Adds an event to the span at hand, if there is one."""
    get_current_span().add_event(event)
