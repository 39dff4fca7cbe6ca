"""The query API and the page as one ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.tasks import call_off
from shared.telemetry import exception_fields
from shared.version import version

from . import routes, session_routes
from .docs_page import POLICY, render
from .errors import ApiError, bad_parameter
from .pages import pages
from .parts import Parts, PartsOf

log = structlog.get_logger()


def create_app(parts: Parts) -> FastAPI:
    """Never sends a CORS header: only its own page may read its answers in a browser."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with _on_duty(parts):
            yield

    app = FastAPI(
        title="Plaudit analytics",
        version=version(),
        description=routes.DESCRIPTION,
        lifespan=lifespan,
        # The ready-made pages load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        exception_handlers={
            ApiError: _refused,
            RequestValidationError: _malformed,
            HTTPException: _other,
            Exception: _failed,
        },
    )
    app.state.parts = parts
    app.add_middleware(_NeverStored)
    app.include_router(session_routes.router)
    app.include_router(routes.router)
    app.include_router(_service)
    app.mount("/", pages(ingest_url=parts.ingest_url))
    return app


_service = APIRouter(include_in_schema=False)


@_service.get("/health")
@_service.get("/health/live")
async def _live() -> dict[str, str]:
    return {"status": "ok"}


@_service.get("/health/ready")
async def _ready(parts: PartsOf) -> Response:
    if not parts.keyring.ready:
        return JSONResponse({"status": "not ready", "problems": ["no keys are known yet"]}, 503)
    return JSONResponse({"status": "ok"})


@_service.get("/docs")
async def _docs(request: Request) -> Response:
    return HTMLResponse(render(request.app.openapi()), headers={"content-security-policy": POLICY})


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _malformed(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][1:]) or "body"
    return bad_parameter(name, str(first["msg"])).response()


async def _other(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return ApiError(error.status_code, "refused", str(error.detail)).response()


async def _failed(_request: Request, error: Exception) -> Response:
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
        await call_off(duties)
        await parts.warehouse.close()
        await parts.redis.aclose()
