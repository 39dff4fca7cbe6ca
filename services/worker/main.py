"""The worker's process: reads the settings, builds the parts, runs FastStream's broker until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import socket
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import structlog
import uvloop
from redis.asyncio import Redis

from shared.dead_letters import DeadLetterBox, Size
from shared.settings import ClickHouseSettings, RedisSettings, TelemetrySettings, TracingSettings, WorkerSettings
from shared.streams import connect, partitions
from shared.tasks import call_off
from shared.telemetry import WorkerMetrics, configure_logging
from shared.tracing import start_tracing

from .batcher import Batcher, BatchLimits
from .circuit import Circuit
from .consumer import build_broker
from .dedupe import RedeliveryWindow, WindowLimits
from .delivery import Delivery
from .drain_rate import DrainRate
from .entries import Holdings
from .health import build_server
from .read_size import ReadSize
from .recovery import Membership, Recovery
from .service import Worker
from .sink import Backoff, EventSink, PersistentWriter, spare_pandas
from .spans import NoSpans, WorkerSpans
from .suspects import Suspects
from .traces import TraceSink, TraceWriter

if TYPE_CHECKING:
    from shared.tracing.tracing import Tracing

log = structlog.get_logger()

_YOUNG_OBJECTS = 100_000
"""Allocations between collections: a batch is a million objects without a cycle among them, and looking through those
again and again at Python's 700 is wasted time.
"""


def consumer_name() -> str:
    """Unique for ever: a name used again would inherit what its predecessor left pending, unseen."""
    return f"{socket.gethostname()}-{os.getpid()}-{random.SystemRandom().getrandbits(32):08x}"


async def work(
    redis_settings: RedisSettings,
    clickhouse: ClickHouseSettings,
    settings: WorkerSettings,
    stop: asyncio.Event,
    tracing_settings: TracingSettings | None = None,
) -> None:
    """Runs until ``stop``, then drains. Not traced without ``tracing_settings``."""
    metrics = WorkerMetrics()
    tracing = start_tracing(tracing_settings, "worker", metrics.registry) if tracing_settings else None
    redis = connect(redis_settings)
    circuit = Circuit(metrics)
    sink = EventSink(clickhouse, time.monotonic)
    traces = TraceSink(clickhouse, time.monotonic)
    member = Membership(partitions(redis_settings), redis_settings.consumer_group, consumer_name())
    spans = _spans(tracing, member, clickhouse)
    room = Size.allowed(redis_settings)
    worker = _build_worker(redis, member, room, settings, metrics, circuit, sink, traces, spans)
    server = build_server(settings, metrics, redis, circuit)
    serving = asyncio.create_task(server.serve())
    try:
        if await _unless(stop, worker.join()):
            broker = build_broker(redis_settings, settings, member.consumer, worker.take)
            async with worker.running():
                if await _unless(stop, broker.start()):
                    log.info("worker_started", consumer=member.consumer, streams=member.streams, group=member.group)
                    await stop.wait()
                log.info("worker_stopping")
                await broker.stop()
    finally:
        server.should_exit = True
        await serving
        await redis.aclose()
        sink.close()
        if tracing is not None:
            await asyncio.to_thread(tracing.stop)


def _spans(tracing: Tracing | None, member: Membership, clickhouse: ClickHouseSettings) -> WorkerSpans:
    if tracing is None:
        return NoSpans()
    from .tracing import EntrySpans  # noqa: PLC0415 -- only here, so that others pay nothing for it

    return EntrySpans(tracing.tracer, member, clickhouse)


def _build_worker(
    redis: Redis,
    member: Membership,
    room: Size,
    settings: WorkerSettings,
    metrics: WorkerMetrics,
    circuit: Circuit,
    sink: EventSink,
    traces: TraceSink,
    spans: WorkerSpans,
) -> Worker:
    holdings = Holdings(time.monotonic)
    backoff = Backoff(settings.worker_retry_base, settings.worker_retry_cap, random.SystemRandom())
    window = None
    if settings.worker_window:
        limits = WindowLimits(settings.worker_window, settings.worker_window_capacity)
        window = RedeliveryWindow(redis, lambda: sink.table_uuid, limits)
    delivery = Delivery(
        redis,
        member.group,
        PersistentWriter(sink.insert, backoff, metrics, on_trouble=circuit.report, clock=time.monotonic),
        TraceWriter(traces.insert, backoff, on_trouble=circuit.report),
        window,
        DeadLetterBox(redis, room),
        holdings,
        metrics,
        backoff=backoff,
        wall_clock=lambda: time.time_ns() // 1000,
        spans=spans,
    )
    batcher = Batcher(
        delivery.deliver,
        BatchLimits(settings.worker_batch_rows, settings.worker_batch_bytes, settings.worker_batch_age),
        in_flight=settings.worker_batches_in_flight,
        clock=time.monotonic,
    )
    metrics.in_flight.set_function(lambda: batcher.flights)
    recovery = Recovery(
        redis,
        member,
        holdings,
        ReadSize(settings.worker_read_bytes),
        claim_idle=settings.worker_claim_idle,
        claim_count=settings.worker_claim_count,
    )
    return Worker(
        redis,
        member,
        settings,
        metrics,
        batcher=batcher,
        delivery=delivery,
        recovery=recovery,
        holdings=holdings,
        suspects=Suspects(redis),
        circuit=circuit,
        rate=DrainRate(redis, member.consumer, lambda: delivery.settled, time.time),
        spans=spans,
    )


async def _unless(stop: asyncio.Event, doing: Coroutine[Any, Any, None]) -> bool:
    """Whether it was done before the stop came."""
    work, stopped = asyncio.create_task(doing), asyncio.create_task(stop.wait())
    await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if work.done():
        work.result()
        return True
    await call_off([work])
    return False


async def _until_signalled() -> None:
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    await work(RedisSettings(), ClickHouseSettings(), WorkerSettings(), stop, TracingSettings())


def run() -> None:
    """Entry point of ``plaudit worker``; settings from the environment."""
    configure_logging(TelemetrySettings(), "worker")
    spare_pandas()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 50, 100)
    uvloop.run(_until_signalled())
