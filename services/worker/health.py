"""The worker's own HTTP port: liveness, readiness, metrics."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import uvicorn
from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.settings import WorkerSettings
from shared.storage import describe
from shared.telemetry import METRICS_CONTENT_TYPE, WorkerMetrics

from .circuit import Circuit

_GRACE = 2
"""Seconds that a request to this port gets when the worker stops."""


class QuietServer(uvicorn.Server):
    """A uvicorn that leaves signals to the worker: it stops when the worker is done."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


def build_server(settings: WorkerSettings, metrics: WorkerMetrics, redis: Redis, circuit: Circuit) -> QuietServer:
    async def live(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(_: Request) -> Response:
        try:
            await redis.ping()
        except (RedisError, OSError) as error:
            return JSONResponse({"status": "redis", "reason": describe(error)}, 503)
        if circuit.fault is not None:
            # Working as designed, but nothing gets through: an operator should see it.
            return JSONResponse({"status": "clickhouse", "reason": str(circuit.fault)}, 503)
        return JSONResponse({"status": "ok"})

    async def show_metrics(_: Request) -> Response:
        return Response(metrics.render(), media_type=METRICS_CONTENT_TYPE)

    app = Starlette(
        routes=[Route("/health/live", live), Route("/health/ready", ready), Route("/metrics", show_metrics)]
    )
    return QuietServer(
        uvicorn.Config(
            app,
            host=settings.metrics_host,
            port=settings.metrics_port,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=_GRACE,
        )
    )
