"""``plaudit refresh``: the derived tables kept up by a process of its own."""

from __future__ import annotations

import asyncio
import signal

import structlog
import uvloop

from shared.settings import AnalyticsSettings, ClickHouseSettings, RedisSettings, TelemetrySettings
from shared.storage import connect
from shared.tasks import call_off
from shared.telemetry import configure_logging

from .main import refresh_duty
from .refresh import Refresher

log = structlog.get_logger()


def run(*, rebuild: bool) -> None:
    """Until SIGTERM or SIGINT; with ``rebuild`` until everything was derived anew once."""
    configure_logging(TelemetrySettings(), "refresh")
    clickhouse = ClickHouseSettings()
    if rebuild:
        _rebuild(clickhouse)
    else:
        uvloop.run(_serve(AnalyticsSettings(), RedisSettings(), clickhouse))


def _rebuild(clickhouse: ClickHouseSettings) -> None:
    patient = clickhouse.model_copy(update={"clickhouse_timeout": max(clickhouse.clickhouse_timeout, 310.0)})
    client = connect(patient)
    try:
        Refresher(client, clickhouse.clickhouse_timeout).rebuild()
    finally:
        client.close()


async def _serve(settings: AnalyticsSettings, redis: RedisSettings, clickhouse: ClickHouseSettings) -> None:
    stop = asyncio.Event()
    for caught in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(caught, stop.set)
    duty = asyncio.create_task(refresh_duty(settings, redis, clickhouse).run())
    log.info("refresh_started")
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({duty, stopping}, return_when=asyncio.FIRST_COMPLETED)
    await call_off([duty, stopping])
    log.info("refresh_stopped")
