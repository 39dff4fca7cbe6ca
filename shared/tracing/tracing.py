"""The library, put together: where spans are made and where they go."""

from __future__ import annotations

import logging
import os
import socket
import threading
from typing import TYPE_CHECKING

import structlog
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Span, Status, StatusCode, Tracer

from shared.telemetry import SpanMetrics
from shared.version import version

from .exporting import BoundedProcessor, CountedExporter, LastWords

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from shared.settings import OpenTelemetrySettings, TracingSettings

log = structlog.get_logger()


class Tracing:
    """``tracer`` records every span that is started with it: who starts one has decided that. ``parent_based`` and
    ``share`` say how, see OpenTelemetrySettings; ``forced_rate``, see TracingSettings.
    """

    def __init__(
        self,
        provider: TracerProvider,
        processor: BoundedProcessor,
        exporter: CountedExporter,
        metrics: SpanMetrics,
        settings: TracingSettings,
        own: OpenTelemetrySettings,
    ) -> None:
        self._provider = provider
        self._processor = processor
        self._exporter = exporter
        self._metrics = metrics
        self._flush_timeout = settings.otel_flush_timeout
        self.tracer: Tracer = provider.get_tracer("plaudit", version())
        self.parent_based = own.parent_based
        self.share = own.share
        self.forced_rate = settings.otel_forced_rate

    def stop(self) -> None:
        """Sends what waits; blocks for the flush timeout at most, whatever the collector does."""
        # A thread that the end of the process does not wait for: the library's own patience is 30 s.
        flushing = threading.Thread(target=self._provider.shutdown, name="flush-spans", daemon=True)
        flushing.start()
        flushing.join(self._flush_timeout)
        if flushing.is_alive():
            self._exporter.shutdown()
        if left := self._processor.waiting:
            self._metrics.spans.labels("dropped").inc(left)
            log.warning("spans_not_flushed", spans=left)


def build_tracing(
    settings: TracingSettings, own: OpenTelemetrySettings, service: str, registry: CollectorRegistry
) -> Tracing:
    """Connects to nothing: the collector may come up later, or never."""
    metrics, words = SpanMetrics(registry), LastWords()
    # Of headers that it cannot read the library logs the whole, credentials included; the settings have looked at them.
    logging.getLogger("opentelemetry.util.re").disabled = True
    speaker = logging.getLogger(trace_exporter.__name__)
    speaker.addHandler(words)
    speaker.propagate = False
    exporter = CountedExporter(trace_exporter.OTLPSpanExporter(), metrics, words)
    batching = BatchSpanProcessor(
        exporter, max_queue_size=own.bsp_max_queue_size, max_export_batch_size=own.bsp_max_export_batch_size
    )
    processor = BoundedProcessor(batching, exporter, metrics, own.bsp_max_queue_size)
    # Who starts a span has decided to; and the process is ended by us, not by atexit.
    provider = TracerProvider(sampler=ALWAYS_ON, resource=_resource(service), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    log.info("tracing_on", sampler=own.traces_sampler, share=own.share)
    return Tracing(provider, processor, exporter, metrics, settings, own)


def _resource(service: str) -> Resource:
    """Who we are. What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say goes before our own."""
    ours = {
        "service.name": f"plaudit-{service}",
        "service.version": version(),
        "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
    }
    return Resource.create(ours).merge(OTELResourceDetector().detect())


def failed(span: Span, kind: str, description: str | None = None) -> None:
    """Marks a span as failed. ``kind``: of low cardinality. ``description``: nothing that quotes what people wrote."""
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, description))
