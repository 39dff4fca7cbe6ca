"""The door's process: reads the settings, puts the parts together, serves until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import TYPE_CHECKING, cast

import structlog
import uvicorn
import uvloop
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from shared.dead_letters import Size
from shared.keyring import Keyring, LoadKeys
from shared.keys import KeyRecord
from shared.keys_admin import KeyAdmin
from shared.settings import (
    ClickHouseSettings,
    IngestSettings,
    KeySettings,
    RedisSettings,
    RelaySettings,
    TelemetrySettings,
    TraceSettings,
    TracingSettings,
)
from shared.storage import connect as connect_clickhouse
from shared.streams import connect as connect_redis
from shared.streams import connect_to, partitions
from shared.telemetry import IngestMetrics, RelayMetrics, configure_logging
from shared.topology import Topology
from shared.tracing import start_tracing

from .app import Face, Parts, create_app
from .body import BodyReader
from .door import Door
from .durability import Durability, DurabilityWatch
from .guarded import GuardedAppender
from .heads import Connection, HeadWatch
from .health import Health
from .learning import Learner
from .log_gauges import LogGauges
from .minting import Minter, system_randbytes
from .outage import SpoolingAppender
from .partitioned import PartitionedPublisher
from .pressure import Pressure, Watermarks
from .protocol import DoorProtocol
from .publisher import Appender, Limits, Publisher
from .rate import RateLimiter
from .reader import FeedbackReader
from .relay.telling import RelayTeller
from .relay.wiring import build_relays
from .spool import Spool

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from shared.tracing.tracing import Tracing

    from .tracing.wiring import DoorSpans

log = structlog.get_logger()

_YOUNG_OBJECTS = 20_000
"""Allocations between collections: a request makes no cycles, so looking for them at Python's 700 is wasted time."""


def run() -> None:
    """``plaudit ingest``: serves until SIGTERM or SIGINT. Raises pydantic's ValidationError for bad settings."""
    settings = IngestSettings()
    telemetry = TelemetrySettings()
    configure_logging(telemetry, "ingest")
    metrics = IngestMetrics()
    tracing = start_tracing(TracingSettings(), "ingest", metrics.registry)
    parts = build_parts(
        settings,
        RedisSettings(),
        ClickHouseSettings(),
        KeySettings(),
        RelaySettings(),
        TraceSettings(),
        metrics,
        tracing,
    )
    try:
        uvloop.run(serve(settings, parts))
    finally:
        if tracing is not None:
            tracing.stop()


def build_parts(
    settings: IngestSettings,
    redis_settings: RedisSettings,
    clickhouse: ClickHouseSettings,
    keys: KeySettings,
    relay_settings: RelaySettings,
    trace_settings: TraceSettings,
    metrics: IngestMetrics,
    tracing: Tracing | None = None,
) -> Parts:
    """Connects nothing yet: servers may come up later than the door."""
    redis = connect_redis(redis_settings)
    # A door that waits for retries is a door that holds requests: it answers 503 at once, and clients retry.
    redis.set_retry(Retry(NoBackoff(), 0))
    # Whoever waits for ClickHouse here is a client: better told soon to try again than kept.
    quick = clickhouse.model_copy(
        update={
            "clickhouse_timeout": settings.ingest_reader_timeout,
            "clickhouse_connect_timeout": settings.ingest_reader_timeout,
        }
    )
    keyring = Keyring(key_loader(quick), redis, refresh=keys.keys_refresh, clock=time.monotonic)
    bodies = BodyReader(
        settings.ingest_body_timeout,
        time.monotonic,
        room=settings.ingest_bodies_bytes,
        retry_after=settings.ingest_retry_after,
    )
    limits = Limits(
        batch=settings.ingest_append_batch,
        queue=settings.ingest_append_queue,
        queue_bytes=settings.ingest_append_queue_bytes,
        timeout=settings.ingest_append_timeout,
        lanes=settings.ingest_append_lanes,
    )
    streams = partitions(redis_settings)
    durability = Durability(settings.ingest_durability, settings.ingest_replicas, settings.ingest_replica_timeout)
    holders = {stream: connect_to(redis_settings, stream, timed=False) for stream in streams}
    for holder in holders.values():
        holder.set_retry(Retry(NoBackoff(), 0))
    if Topology.of(redis_settings).kind == "cluster":
        # The partitions lie on several servers: a lane for each.
        publisher: Publisher | PartitionedPublisher = PartitionedPublisher(
            [
                Publisher(holder, [stream], limits, metrics, clock=time.monotonic, durability=durability)
                for stream, holder in holders.items()
            ]
        )
    else:
        holder = holders[streams[0]]
        publisher = Publisher(holder, streams, limits, metrics, clock=time.monotonic, durability=durability)
    watch = DurabilityWatch(connect_to(redis_settings, streams[0]), durability)
    pressure = Pressure(
        redis,
        streams,
        redis_settings.consumer_group,
        Watermarks(
            backlog=settings.ingest_backlog_limit,
            memory=settings.ingest_memory_limit,
            age=settings.ingest_age_limit,
            resume=settings.ingest_resume_share,
            warn=settings.ingest_warn_share,
        ),
        metrics,
        wall_clock=time.time,
    )
    appender: Appender = GuardedAppender(publisher, pressure, watch)
    spans = _spans(tracing, redis_settings.stream_name)
    spooling: list[Callable[[], Awaitable[None]]] = []
    if settings.ingest_spool_dir is not None:
        spool = Spool(settings.ingest_spool_dir, capacity=settings.ingest_spool_bytes)
        appender = spooler = SpoolingAppender(appender, spool, metrics, note=spans.note if spans else None)
        spooling.append(spooler.run)
    if spans is not None:
        appender = spans.appender(appender)
    minter = Minter(time.time_ns, system_randbytes)
    learner = _learner(trace_settings, settings, appender, minter, metrics)
    door = Door(
        settings,
        keyring,
        bodies,
        RateLimiter(settings.ingest_rate_limit, settings.ingest_rate_burst, time.monotonic),
        minter,
        appender,
        retry_after=lambda: max(settings.ingest_retry_after, pressure.retry_after if pressure.refusing else 0),
        learner=learner,
    )
    reader = FeedbackReader(
        lambda: connect_clickhouse(quick), settings.ingest_reader_clients, settings.ingest_reader_timeout
    )
    health = Health(redis, keyring, publisher, pressure, door.tally, metrics)
    gauges = LogGauges(
        redis,
        partitions(redis_settings),
        redis_settings.consumer_group,
        Size.allowed(redis_settings),
        metrics,
        wall_clock=time.time,
    )
    relay_metrics = RelayMetrics(metrics.registry)
    relays = build_relays(relay_settings, relay_metrics, clock=time.monotonic, random=random.SystemRandom())
    relaying = [duty for relay in relays.values() for duty in relay.duties]
    if relays:
        door_name = f"{socket.gethostname()}-{os.getpid()}"
        relaying.append(RelayTeller(redis, door_name, [relay.sender for relay in relays.values()], time.time).run)
    learning = [learner.run] if learner is not None else []
    return Parts(
        door,
        reader,
        health,
        relays,
        spans.face if spans is not None else _as_it_is,
        (keyring.run, publisher.run, bodies.run, gauges.run, pressure.run, watch.run, *spooling, *relaying, *learning),
        watch.at_start,
        relay_settings.relay_drain + 1.0,
    )


def _spans(tracing: Tracing | None, destination: str) -> DoorSpans | None:
    if tracing is None:
        return None
    from .tracing.wiring import DoorSpans  # noqa: PLC0415 -- only here, so that others pay nothing for it

    # Dice for a sample, for which the quick ones will do.
    return DoorSpans(tracing, destination, clock=time.monotonic, random=random.Random())  # noqa: S311


def _as_it_is(face: Face, _route: str) -> Face:
    return face


def _learner(
    trace_settings: TraceSettings,
    settings: IngestSettings,
    appender: Appender,
    minter: Minter,
    metrics: IngestMetrics,
) -> Learner | None:
    if not trace_settings.trace_learning:
        return None
    return Learner(
        appender,
        minter,
        metrics,
        metadata_names=trace_settings.metadata_names,
        part_bytes=settings.ingest_part_bytes,
        known=trace_settings.trace_known,
        waiting=trace_settings.trace_waiting,
        pause=trace_settings.trace_pause,
    )


def key_loader(settings: ClickHouseSettings) -> LoadKeys:
    """Reads the keys over one connection, opened anew after a failure."""
    client: Client | None = None

    def load() -> list[KeyRecord]:
        nonlocal client
        if client is None:
            client = connect_clickhouse(settings)
        try:
            return KeyAdmin(client).records()
        except BaseException:
            client.close()
            client = None
            raise

    return load


class _Server(uvicorn.Server):
    """Turns ``/health/ready`` red before it stops listening, so that a balancer can send requests elsewhere."""

    def __init__(self, config: uvicorn.Config, parts: Parts, delay: float) -> None:
        super().__init__(config)
        self._health = parts.health
        self._delay = delay
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._health.draining:
            super().handle_exit(sig, frame)
            return
        self._health.draining = True
        log.info("draining", signal=signal.Signals(sig).name)
        stop = super().handle_exit
        self._loop.call_soon_threadsafe(lambda: self._loop.call_later(self._delay, stop, sig, None))


async def serve(settings: IngestSettings, parts: Parts) -> None:
    """Serves until a signal, then finishes the requests in flight.

    Raises DurabilityError where Redis cannot keep what is promised.
    """
    await parts.at_start()
    # uvicorn raises the signals that it caught once more when it has stopped: they have done their work.
    for caught in (signal.SIGTERM, signal.SIGINT):
        signal.signal(caught, lambda _signal, _frame: None)
    config = uvicorn.Config(
        create_app(parts),
        http=DoorProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=settings.ingest_connections,
        timeout_keep_alive=int(settings.ingest_keep_alive),
        timeout_graceful_shutdown=int(settings.ingest_drain_timeout),
        backlog=2048,
    )
    family = socket.AF_INET6 if ":" in settings.ingest_host else socket.AF_INET
    listener = socket.create_server((settings.ingest_host, settings.ingest_port), family=family, backlog=2048)
    log.info("ingest_listening", host=settings.ingest_host, port=listener.getsockname()[1])
    server = _Server(config, parts, settings.ingest_drain_delay)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 50)
    connections = cast("set[Connection]", server.server_state.connections)
    heads = HeadWatch(connections, settings.ingest_body_timeout, time.monotonic)
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(heads.run())
        await server.serve(sockets=[listener])
        watching.cancel()
    log.info("ingest_stopped")
