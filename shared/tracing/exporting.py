"""Spans on their way to the collector: a bounded number of them, counted, and never in anybody's way."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from shared.telemetry import exception_fields

if TYPE_CHECKING:
    from shared.telemetry import SpanMetrics

log = structlog.get_logger()

_REASON_SHOWN = 300


class LastWords(logging.Handler):
    """What the library's exporter says, kept in place of being logged: it speaks at every attempt."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said: dict[int, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self._said[record.levelno] = record.getMessage().partition("\n")[0]

    def take(self) -> str:
        """The last complaint of each level, and forgets them."""
        said, self._said = self._said, {}
        return " ".join(said.values())[:_REASON_SHOWN]


class CountedExporter(SpanExporter):
    """Counts what gets through, and says when spans begin not to and when they do again: once each, not once a batch.

    Called from the processor's thread.
    """

    def __init__(self, exporter: SpanExporter, metrics: SpanMetrics, words: LastWords) -> None:
        self._exporter = exporter
        self._metrics = metrics
        self._words = words
        self._failing = False
        self.finished = 0
        """Spans of which the outcome is known."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
            reason = self._words.take()
        except Exception as error:  # noqa: BLE001 -- whatever it is, these spans did not get through
            result, reason = SpanExportResult.FAILURE, exception_fields(error)["reason"]
        failed = result is not SpanExportResult.SUCCESS
        self._metrics.spans.labels("refused" if failed else "exported").inc(len(spans))
        self.finished += len(spans)
        if failed and not self._failing:
            log.warning("spans_not_exported", reason=reason)
        elif self._failing and not failed:
            log.info("spans_exported_again")
        self._failing = failed
        return result

    def shutdown(self) -> None:
        """Ends the attempt under way as well, as soon as it looks up."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class BoundedProcessor(SpanProcessor):
    """Hands ended spans to the library's batching processor as long as fewer than ``capacity`` are with it, those being
    exported included; more are dropped, counted. Its own queue would drop uncounted.

    Spans must end in one thread, the loop's: the counts are not locked.
    """

    def __init__(
        self, processor: SpanProcessor, exporter: CountedExporter, metrics: SpanMetrics, capacity: int
    ) -> None:
        self._processor = processor
        self._exporter = exporter
        self._metrics = metrics
        self._capacity = capacity
        self._accepted = 0

    @property
    def waiting(self) -> int:
        """Spans that have ended and of which the outcome is not known."""
        return self._accepted - self._exporter.finished

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        pass

    def on_end(self, span: ReadableSpan) -> None:
        if self.waiting >= self._capacity:
            self._metrics.spans.labels("dropped").inc()
            return
        self._accepted += 1
        self._processor.on_end(span)

    def shutdown(self) -> None:
        self._processor.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._processor.force_flush(timeout_millis)
