"""Our own traces, by OpenTelemetry: one trace from the request through the log to the insert.

No other module here is imported, and no span is made, unless PLAUDIT_OTEL_TRACING is on. The door decides which
requests are traced; what it decided travels in the envelope (``Envelope.traceparent``), and workers go by that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import TracingError
from shared.settings import OpenTelemetrySettings

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from shared.settings import TracingSettings

    from .tracing import Tracing


def start_tracing(settings: TracingSettings, service: str, registry: CollectorRegistry) -> Tracing | None:
    """None where tracing is off. ``service``: ingest or worker. Stop what it gives at the end of the process.

    Raises TracingError where the packages are missing, pydantic's ValidationError for bad OTEL_ variables.
    """
    if not settings.otel_tracing:
        return None
    own = OpenTelemetrySettings()
    if own.sdk_disabled:
        return None
    try:
        from .tracing import build_tracing  # noqa: PLC0415 -- only here, so that others pay nothing for it
    except ImportError as error:
        raise TracingError(error.name or "a package") from error
    return build_tracing(settings, own, service, registry)
