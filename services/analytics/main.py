"""The reading side's process: reads the settings, puts the parts together, serves until it is told to stop."""

from __future__ import annotations

import signal
import socket
import time
from types import FrameType
from typing import TYPE_CHECKING

import aiohttp
import clickhouse_connect
import structlog
import uvicorn
import uvloop
from clickhouse_connect.driver.exceptions import ClickHouseError
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from shared.errors import StoreUnavailableError
from shared.keyring import Keyring
from shared.keys import KeyRecord
from shared.keys_admin import KeyAdmin
from shared.settings import AnalyticsSettings, ClickHouseSettings, KeySettings, RedisSettings, TelemetrySettings
from shared.storage import compresses, database_name, describe, endpoints
from shared.storage import connect as connect_clickhouse
from shared.streams import connect as connect_redis
from shared.streams import partitions
from shared.telemetry import configure_logging

from .access import Access, session_secret
from .app import create_app
from .freshness import Freshness, RefreshDuty
from .parts import Parts
from .pipeline import Pipeline
from .sessions import SessionSigner
from .tail import Tails
from .warehouse import Warehouse

if TYPE_CHECKING:
    from clickhouse_connect.driver.asyncclient import AsyncClient

log = structlog.get_logger()

_DRAIN_SECONDS = 5


def run() -> None:
    """Entry point of ``plaudit analytics``; settings from the environment."""
    configure_logging(TelemetrySettings(), "analytics")
    settings = AnalyticsSettings()
    uvloop.run(serve(settings, build_parts(settings, RedisSettings(), ClickHouseSettings(), KeySettings())))


def build_parts(
    settings: AnalyticsSettings, redis_settings: RedisSettings, clickhouse: ClickHouseSettings, keys: KeySettings
) -> Parts:
    """Connects nothing yet: servers may come up later."""
    redis = connect_redis(redis_settings)
    redis.set_retry(Retry(NoBackoff(), 0))
    keyring = Keyring(lambda: _load_keys(clickhouse), redis, refresh=keys.keys_refresh, clock=time.monotonic)
    warehouse = Warehouse(
        lambda: connect_async(clickhouse, settings.analytics_query_timeout),
        concurrency=settings.analytics_queries,
        timeout=settings.analytics_query_timeout,
        memory=settings.analytics_query_memory,
    )
    freshness = Freshness(redis, warehouse, clock=time.monotonic)
    password = endpoints(clickhouse)[0].password
    configured = settings.analytics_session_secret
    secret = session_secret(configured.get_secret_value() if configured else None, password)
    public_url, ingest_url = settings.analytics_public_url, settings.analytics_ingest_url
    return Parts(
        access=Access(
            keyring,
            SessionSigner(secret, settings.analytics_session_hours * 3600, time.time),
            secure=public_url is not None and public_url.scheme == "https",
        ),
        warehouse=warehouse,
        freshness=freshness,
        pipeline=Pipeline(redis, warehouse, freshness, partitions(redis_settings), redis_settings.consumer_group),
        tails=Tails(warehouse, freshness, most=settings.analytics_tails),
        keyring=keyring,
        duty=refresh_duty(settings, redis_settings, clickhouse) if settings.analytics_refresh else None,
        redis=redis,
        ingest_url=str(ingest_url).rstrip("/") if ingest_url else None,
        most_in_parquet=settings.analytics_parquet_rows,
    )


def refresh_duty(
    settings: AnalyticsSettings, redis_settings: RedisSettings, clickhouse: ClickHouseSettings
) -> RefreshDuty:
    """What keeps the derived tables up, here or in ``plaudit refresh``."""
    # A refresh may take long after a pause, and an insert of a worker ends with its own client's patience.
    patient = clickhouse.model_copy(update={"clickhouse_timeout": max(clickhouse.clickhouse_timeout, 310.0)})
    return RefreshDuty(
        connect_redis(redis_settings),
        lambda: connect_clickhouse(patient),
        interval=settings.analytics_refresh_interval,
        settle_after=clickhouse.clickhouse_timeout,
        clock=time.monotonic,
    )


def _load_keys(clickhouse: ClickHouseSettings) -> list[KeyRecord]:
    client = connect_clickhouse(clickhouse)
    try:
        return KeyAdmin(client).records()
    finally:
        client.close()


async def connect_async(settings: ClickHouseSettings, patience: float) -> AsyncClient:
    """The first of the servers that answers. ``patience``: seconds that a query may take.

    Raises StoreUnavailableError when none answers or lets us in.
    """
    failure: Exception = OSError("the URL names no host")
    for place in endpoints(settings):
        try:
            return await clickhouse_connect.get_async_client(
                host=place.host,
                port=place.port,
                username=place.username,
                password=place.password,
                database=database_name(settings),
                secure=place.secure,
                compress=compresses(settings, place.host),
                connect_timeout=settings.clickhouse_connect_timeout,
                send_receive_timeout=patience + 5,
                autogenerate_session_id=False,
                query_limit=0,
            )
        except (ClickHouseError, OSError, aiohttp.ClientError) as error:
            failure = error
    raise StoreUnavailableError("clickhouse", describe(failure)) from failure


class _Server(uvicorn.Server):
    """Ends the live tails first: they would go on for ever."""

    def __init__(self, config: uvicorn.Config, tails: Tails) -> None:
        super().__init__(config)
        self._tails = tails

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._tails.close()
        super().handle_exit(sig, frame)


async def serve(settings: AnalyticsSettings, parts: Parts) -> None:
    """Serves until a signal, then finishes the requests in flight."""
    # uvicorn raises the signals that it caught once more when it has stopped: they have done their work.
    for caught in (signal.SIGTERM, signal.SIGINT):
        signal.signal(caught, lambda _signal, _frame: None)
    config = uvicorn.Config(
        create_app(parts),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    family = socket.AF_INET6 if ":" in settings.analytics_host else socket.AF_INET
    listener = socket.create_server((settings.analytics_host, settings.analytics_port), family=family)
    log.info("analytics_listening", host=settings.analytics_host, port=listener.getsockname()[1])
    await _Server(config, parts.tails).serve(sockets=[listener])
    log.info("analytics_stopped")
