"""Logs and metrics of every process. Every metric name stands here, with its type and meaning."""

from __future__ import annotations

import logging
import sys
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from structlog.typing import Processor

    from shared.settings import TelemetrySettings

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def configure_logging(settings: TelemetrySettings, service: str) -> None:
    """Console on a terminal, JSON otherwise; the libraries' own records come out in the same shape."""
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # The locals of a traceback may hold what people wrote: never shown.
    plain = structlog.dev.plain_traceback
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=plain) if console else structlog.processors.JSONRenderer()
    )
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    structlog.configure(
        processors=[
            *common,
            *([] if console else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=common,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *([] if console else [structlog.processors.format_exc_info]),
                renderer,
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)


class BulkHistogram(Collector):
    """A histogram that takes many values at once: locking and searching for each of them alone costs more than the
    work that they measure. For one thread.
    """

    def __init__(self, name: str, documentation: str, *, buckets: Sequence[float], registry: CollectorRegistry) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = buckets
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe_many(self, values: list[float]) -> None:
        """Sorts ``values``."""
        values.sort()
        ends = [*(bisect_right(values, bound) for bound in self._bounds), len(values)]
        self._counts = [count + end for count, end in zip(self._counts, ends, strict=True)]
        self._sum += sum(values)

    def collect(self) -> Iterable[HistogramMetricFamily]:
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        buckets = list(zip(names, map(float, self._counts), strict=True))
        return [HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=self._sum)]


class _Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)

    def render(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self.registry)


class IngestMetrics(_Metrics):
    """What the door counts."""

    def __init__(self) -> None:
        super().__init__()
        self.requests = Counter(
            "plaudit_ingest_requests_total",
            "Requests answered, by vendor and status code.",
            ["source", "status"],
            registry=self.registry,
        )
        self.events = Counter(
            "plaudit_ingest_events_total",
            "Events by outcome: accepted (appended to the log), skipped (not feedback), refused (contract).",
            ["source", "outcome"],
            registry=self.registry,
        )
        self.append_seconds = Histogram(
            "plaudit_ingest_append_seconds",
            "Time of one pipelined group of appends to Redis.",
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=self.registry,
        )
        self.append_entries = Histogram(
            "plaudit_ingest_append_entries",
            "Stream entries in one pipelined group of appends.",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
            registry=self.registry,
        )
        self.pressure = Gauge(
            "plaudit_ingest_pressure",
            "How near the nearest limit of backlog, Redis memory or age is; at 1 requests are refused.",
            registry=self.registry,
        )
        self.refusing = Gauge(
            "plaudit_ingest_refusing", "1 while requests are refused for backpressure.", registry=self.registry
        )
        self.spooled = Counter(
            "plaudit_ingest_spooled_total", "Requests that went to the spool.", registry=self.registry
        )
        self.replayed = Counter(
            "plaudit_ingest_replayed_total", "Requests that came from the spool into the log.", registry=self.registry
        )
        self.spool_bytes = Gauge(
            "plaudit_ingest_spool_bytes", "Bytes in the spool, not yet in the log.", registry=self.registry
        )
        self.waiting = Gauge(
            "plaudit_ingest_waiting_requests", "Requests that wait for Redis to acknowledge.", registry=self.registry
        )
        self.learnt = Counter(
            "plaudit_traces_learnt_total",
            "Records of traces learnt from what passed: appended, or dropped since too many waited for the log.",
            ["outcome"],
            registry=self.registry,
        )
        self.backlog_entries = Gauge(
            "plaudit_backlog_entries",
            "Entries in the log, those in workers' hands included. Every door tells the same.",
            registry=self.registry,
        )
        self.backlog_pending = Gauge(
            "plaudit_backlog_pending_entries", "Entries in workers' hands.", registry=self.registry
        )
        self.backlog_oldest = Gauge(
            "plaudit_backlog_oldest_seconds",
            "Age of the oldest entry in the log; 0 when there is none.",
            registry=self.registry,
        )
        self.dead_letters = Gauge(
            "plaudit_dead_letters", "Dead letters that wait for a decision.", registry=self.registry
        )
        self.dead_letters_bytes = Gauge(
            "plaudit_dead_letters_bytes", "Bytes of Redis that dead letters take.", registry=self.registry
        )
        self.dead_letters_room = Gauge(
            "plaudit_dead_letters_used_ratio",
            "How much of the room for dead letters is used, by number or bytes, whichever is nearer to its bound; at 1 "
            "the entries of more stay in the log.",
            registry=self.registry,
        )
        self.redis_memory = Gauge("plaudit_redis_memory_bytes", "Memory that Redis uses.", registry=self.registry)
        self.redis_max_memory = Gauge(
            "plaudit_redis_max_memory_bytes", "Redis's maxmemory; 0: no limit.", registry=self.registry
        )
        self.redis_up = Gauge(
            "plaudit_redis_up",
            "1 while Redis answers this door; the figures of the log stand still while it is 0.",
            registry=self.registry,
        )


class RelayMetrics:
    """What the relay and the proxy count, in the registry of the door. ``source``: which vendor."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.relayed = Counter(
            "plaudit_relay_requests_total",
            "Requests that a vendor took (2xx), after Plaudit had answered them.",
            ["source"],
            registry=registry,
        )
        self.dropped = Counter(
            "plaudit_relay_dropped_total",
            "Requests that did not go on, or of which nobody knows: full (queue), expired (queue), refused (3xx, 4xx), "
            "failed (5xx), unanswered (connection lost or time up after sending), unreachable (tries used up), "
            "untrusted (the same, for the vendor's certificate), closing (at the end of the process), unreadable "
            "(feedback could not be cut out of it).",
            ["source", "reason"],
            registry=registry,
        )
        self.retries = Counter(
            "plaudit_relay_retries_total", "Requests put back for another try.", ["source"], registry=registry
        )
        self.delay = Histogram(
            "plaudit_relay_delay_seconds",
            "From Plaudit's answer to the vendor's 2xx; of one in eight.",
            ["source"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
            registry=registry,
        )
        self.queued = Gauge(
            "plaudit_relay_queued_requests", "Requests waiting or on their way.", ["source"], registry=registry
        )
        self.queued_bytes = Gauge(
            "plaudit_relay_queued_bytes", "Bytes of those requests.", ["source"], registry=registry
        )
        self.breaker_open = Gauge(
            "plaudit_relay_breaker_open",
            "1 while a vendor is left alone after failures.",
            ["source"],
            registry=registry,
        )
        self.proxied = Counter(
            "plaudit_proxy_requests_total",
            "Requests of routes that are the vendor's own, by the class of the status that the client got (2xx …); "
            "gone: the client left, broken: the vendor's answer ended in the middle.",
            ["source", "status"],
            registry=registry,
        )
        self.proxying = Gauge(
            "plaudit_proxy_in_flight", "Proxied requests at this moment.", ["source"], registry=registry
        )


class WorkerMetrics(_Metrics):
    """What a worker counts."""

    def __init__(self) -> None:
        super().__init__()
        self.events = Counter(
            "plaudit_events_total",
            "Events by outcome: stored, redelivered, repeated (in one batch), corrected (in one batch), "
            "skipped (the envelope held what is no feedback), dead_lettered.",
            ["source", "outcome"],
            registry=self.registry,
        )
        self.entries = Counter("plaudit_worker_entries_total", "Stream entries read.", registry=self.registry)
        self.settled = Counter(
            "plaudit_worker_settled_total", "Stream entries acknowledged and deleted.", registry=self.registry
        )
        self.inserts = Counter(
            "plaudit_worker_inserts_total",
            "Inserts into ClickHouse by result: ok, or the class of the error.",
            ["result"],
            registry=self.registry,
        )
        self.insert_seconds = Histogram(
            "plaudit_worker_insert_seconds",
            "Time of one insert that succeeded.",
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=self.registry,
        )
        self.insert_rows = Histogram(
            "plaudit_worker_insert_rows",
            "Rows in one insert.",
            buckets=(1, 10, 100, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 50_000, 100_000),
            registry=self.registry,
        )
        self.delay_seconds = BulkHistogram(
            "plaudit_delay_seconds",
            "From the receipt of a request to its events being in ClickHouse: the delay that people see. "
            "One observation an entry of live feedback; imports and replays are not counted.",
            buckets=(0.1, 0.25, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21600),
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "plaudit_worker_batches_in_flight", "Batches on their way into ClickHouse.", registry=self.registry
        )
        self.circuit_open = Gauge(
            "plaudit_worker_circuit_open",
            "1 while inserts fail and are being retried; reading pauses meanwhile.",
            registry=self.registry,
        )


class SpanMetrics:
    """What becomes of our own spans, in the registry of the process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.spans = Counter(
            "plaudit_otel_spans_total",
            "Spans by outcome: exported, refused (the collector did not take them, or was not there), dropped (too "
            "many were waiting, or the process ended before they went).",
            ["outcome"],
            registry=registry,
        )


def exception_fields(error: BaseException) -> dict[str, Any]:
    """An error as log fields: its type and first line. Never more: a driver's message may quote data."""
    text = str(error).partition("\n")[0]
    return {"error": type(error).__name__, "reason": text[:300]}
