"""The query API and the page as one ASGI application."""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.keyring import Keyring
from shared.telemetry import exception_fields

from .access import Access
from .docs_page import POLICY, render
from .errors import ApiError, bad_parameter
from .freshness import Freshness, RefreshDuty
from .pages import pages
from .pipeline import Pipeline
from .routes import DESCRIPTION, api
from .session_routes import session_api
from .tail import Tails
from .warehouse import Warehouse

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Parts:
    """What the application is made of. ``duty``: keeps the derived tables up; None where another process does."""

    access: Access
    warehouse: Warehouse
    freshness: Freshness
    pipeline: Pipeline
    tails: Tails
    keyring: Keyring
    duty: RefreshDuty | None
    redis: Redis
    ingest_url: str | None
    most_in_parquet: int


def create_app(parts: Parts) -> FastAPI:
    """Never sends a CORS header: only its own page may read its answers in a browser."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with _on_duty(parts):
            yield

    app = FastAPI(
        title="Plaudit analytics",
        version=importlib.metadata.version("plaudit"),
        description=DESCRIPTION,
        lifespan=lifespan,
        # The ready-made pages load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    _answer_errors(app)
    app.add_middleware(_NeverStored)
    app.include_router(session_api(parts.access))
    app.include_router(
        api(parts.access, parts.warehouse, parts.freshness, parts.pipeline, parts.tails, parts.most_in_parquet)
    )
    _add_service_routes(app, parts)
    app.mount("/", pages(ingest_url=parts.ingest_url))
    return app


def _add_service_routes(app: FastAPI, parts: Parts) -> None:
    @app.get("/health", include_in_schema=False)
    @app.get("/health/live", include_in_schema=False)
    async def live() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/health/ready", include_in_schema=False)
    async def ready() -> Response:
        if not parts.keyring.ready:
            return JSONResponse({"status": "not ready", "problems": ["no keys are known yet"]}, 503)
        return JSONResponse({"status": "ok"})

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(render(app.openapi()), headers={"content-security-policy": POLICY})

    @app.api_route("/api/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    async def unknown(rest: str) -> Response:
        raise ApiError(404, "not_found", f"There is no /api/{rest[:100]}; /docs lists what there is.")


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def refused(_request: Request, error: ApiError) -> Response:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def malformed(_request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][1:]) or "body"
        return bad_parameter(name, str(first["msg"])).response()

    @app.exception_handler(HTTPException)
    async def other(_request: Request, error: HTTPException) -> Response:
        return ApiError(error.status_code, "refused", str(error.detail)).response()

    @app.exception_handler(Exception)
    async def failed(_request: Request, error: Exception) -> Response:
        log.error("request_failed", **exception_fields(error))
        return ApiError(500, "internal", "This is a fault of Plaudit; its log tells more.").response()


class _NeverStored:
    """Answers are one reader's own, and no sniffing browser makes a page of them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("cache-control", "no-store")
                headers.setdefault("x-content-type-options", "nosniff")
                headers.setdefault("referrer-policy", "no-referrer")
            await send(message)

        await self._app(scope, receive, send_guarded)


@asynccontextmanager
async def _on_duty(parts: Parts) -> AsyncIterator[None]:
    duties = [asyncio.create_task(parts.keyring.run())]
    if parts.duty is not None:
        duties.append(asyncio.create_task(parts.duty.run()))
    try:
        yield
    finally:
        for task in duties:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*duties, return_exceptions=True)
        await parts.warehouse.close()
        await parts.redis.aclose()
