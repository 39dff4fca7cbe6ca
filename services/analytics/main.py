"""The reading side's process."""

from __future__ import annotations

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.settings import AnalyticsSettings, TelemetrySettings
from shared.telemetry import configure_logging


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


def run() -> None:
    """Entry point of ``plaudit analytics``; settings from the environment."""
    configure_logging(TelemetrySettings(), "analytics")
    settings = AnalyticsSettings()
    app = Starlette(routes=[Route("/health", _health)])
    uvicorn.run(
        app,
        host=settings.analytics_host,
        port=settings.analytics_port,
        log_config=None,
        access_log=False,
        server_header=False,
    )
