"""A span around a request that is traced: what came and what was answered, nothing of what it said."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Tracer

from services.ingest_api.replies import Header, Receive, Scope, Send, status_of
from shared.tracing.tracing import failed

from .current import at_hand

Face = Callable[[Scope, Receive, Send], Awaitable[None]]
Sample = Callable[[Sequence[Header]], Context | None]

_PATH_SHOWN = 256
"""Characters: the id of a run in it is whatever a client took for one."""


class TracedFace:
    """``route``: the path with its variable parts as names."""

    def __init__(self, face: Face, route: str, tracer: Tracer, sample: Sample) -> None:
        self._face = face
        self._route = route
        self._tracer = tracer
        self._sample = sample

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        context = self._sample(scope["headers"])
        if context is None:
            return self._face(scope, receive, send)
        return self._traced(context, scope, receive, send)

    async def _traced(self, context: Context, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        # Neither the query nor any header: either may hold a key.
        attributes = {
            "http.request.method": method,
            "http.route": self._route,
            "url.path": scope["path"][:_PATH_SHOWN],
            "url.scheme": scope["scheme"],
            "network.protocol.version": scope["http_version"],
        }
        span = self._tracer.start_span(f"{method} {self._route}", context, SpanKind.SERVER, attributes)

        with at_hand(span):
            await self._face(scope, receive, send)
            if status := status_of(scope):
                span.set_attribute("http.response.status_code", status)
            if status >= 500:
                failed(span, str(status))
