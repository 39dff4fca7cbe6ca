from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry

from shared.telemetry import SpanMetrics
from shared.tracing.exporting import BoundedProcessor, CountedExporter, LastWords


class Wire(SpanExporter):
    """Takes spans or does not, as told; waits while it is ``blocked``."""

    def __init__(self) -> None:
        self.result: SpanExportResult | Exception = SpanExportResult.SUCCESS
        self.taken: list[str] = []
        self.open = threading.Event()
        self.open.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        assert self.open.wait(20)
        if isinstance(self.result, Exception):
            raise self.result
        if self.result is SpanExportResult.SUCCESS:
            self.taken += [span.name for span in spans]
        return self.result


class Line:
    """Spans on their way to a wire, as in a service: ten at most."""

    def __init__(self, capacity: int = 10) -> None:
        self.registry = CollectorRegistry()
        self.wire, self.words = Wire(), LastWords()
        metrics = SpanMetrics(self.registry)
        self.exporter = CountedExporter(self.wire, metrics, self.words)
        batching = BatchSpanProcessor(
            self.exporter, max_queue_size=capacity, max_export_batch_size=2, schedule_delay_millis=1
        )
        self.processor = BoundedProcessor(batching, self.exporter, metrics, capacity)
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(self.processor)
        self._tracer = self._provider.get_tracer("test")

    def send(self, count: int, first: int = 0) -> None:
        for number in range(first, first + count):
            self._tracer.start_span(str(number)).end()

    def end(self) -> None:
        self._provider.shutdown()

    def count(self, outcome: str) -> float:
        return self.registry.get_sample_value("plaudit_otel_spans_total", {"outcome": outcome}) or 0


def test_what_gets_through_is_counted() -> None:
    line = Line()
    line.send(5)
    line.end()
    assert sorted(line.wire.taken) == ["0", "1", "2", "3", "4"]
    assert (line.count("exported"), line.count("refused"), line.count("dropped")) == (5, 0, 0)
    assert line.processor.waiting == 0


def test_while_the_collector_hangs_a_bounded_number_waits_and_each_more_is_counted() -> None:
    line = Line()
    line.wire.open.clear()
    line.send(25)
    assert (line.processor.waiting, line.count("dropped")) == (10, 15)
    line.wire.open.set()
    line.end()
    assert line.count("exported") == 10
    assert sorted(line.wire.taken, key=int) == [str(number) for number in range(10)]


@pytest.mark.parametrize("trouble", [SpanExportResult.FAILURE, ValueError("no")], ids=["refused", "raised"])
def test_trouble_is_told_once_and_its_end_once(trouble: SpanExportResult | Exception) -> None:
    line = Line()
    with structlog.testing.capture_logs() as logs:
        line.wire.result = trouble
        for _ in range(3):
            line.exporter.export(_some(2))
        line.wire.result = SpanExportResult.SUCCESS
        for _ in range(3):
            line.exporter.export(_some(2))
    assert [entry["event"] for entry in logs] == ["spans_not_exported", "spans_exported_again"]
    assert (line.count("refused"), line.count("exported")) == (6, 6)
    line.end()


def test_the_reason_is_what_the_library_complained_of() -> None:
    words, logger = LastWords(), logging.getLogger("tests.exporter")
    logger.addHandler(words)
    logger.propagate = False
    logger.warning("Transient error %s", "refused\nand a second line")
    logger.error("gave up")
    assert words.take() == "Transient error refused gave up"
    assert words.take() == ""


def _some(count: int) -> list[ReadableSpan]:
    return [ReadableSpan(str(number)) for number in range(count)]
