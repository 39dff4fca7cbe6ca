"""Trace context as it travels in W3C's ``traceparent``. Its companion ``tracestate`` is a sender's free text, which we
neither keep nor pass on.
"""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_NAME = "traceparent"
_LONGEST = 512
"""Bytes that the propagator reads; of more it would complain in the log, at the sender's pleasure."""

_propagator = TraceContextTextMapPropagator()


def read(traceparent: bytes) -> Context | None:
    """A context with this remote parent; None for what the standard calls malformed, to be ignored."""
    if not 0 < len(traceparent) <= _LONGEST:
        return None
    context = _propagator.extract({_NAME: traceparent.decode("latin-1")})
    return context if parent(context).is_valid else None


def parent(context: Context) -> SpanContext:
    """The span that a context stands in."""
    return get_current_span(context).get_span_context()


def write(span: Span) -> bytes:
    """The ``traceparent`` by which a span becomes a parent elsewhere."""
    found = span.get_span_context()
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}".encode()
