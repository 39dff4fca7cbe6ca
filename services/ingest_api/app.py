"""The door as an ASGI application: which path goes where."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import NamedTuple

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from shared.events import Source
from shared.tasks import call_off
from shared.telemetry import exception_fields
from shared.version import version

from . import langwatch, openapi
from .body import arrived
from .door import Door
from .health import Health
from .langwatch import LangWatchFace
from .lunary import LunaryFace
from .lunary_access import cors_headers, message_reply, preflight
from .lunary_feedback import PATH as FEEDBACK_PATH
from .lunary_feedback import ROUTE as FEEDBACK_ROUTE
from .lunary_feedback import LunaryFeedbackFace
from .otlp import TracesFace
from .reader import FeedbackReader
from .relay.capture import CutFeedback
from .relay.cutting import lunary_cutter, nothing, otlp_cutter
from .relay.wiring import Relays
from .replies import Message, Receive, Scope, Send, send_reply

log = structlog.get_logger()

Face = Callable[[Scope, Receive, Send], Awaitable[None]]


Around = Callable[[Face, str], Face]
"""Puts something around the face of a route."""


class Parts(NamedTuple):
    """What the application is made of. ``traced`` puts spans around a face, or leaves it as it is. ``duties`` run as
    long as the application does: keys, appends, sweeps. ``at_start`` raises where it must not start at all. patience:
    seconds that a duty may take to end.
    """

    door: Door
    reader: FeedbackReader
    health: Health
    relays: Relays
    traced: Around
    duties: Sequence[Callable[[], Awaitable[None]]]
    at_start: Callable[[], Awaitable[None]]
    patience: float


def create_app(parts: Parts) -> IngestApp:
    return IngestApp(parts)


class IngestApp:
    """The vendors' paths are looked up in a dictionary and served without a framework between; all else is
    Starlette's.
    """

    def __init__(self, parts: Parts) -> None:
        faces = _owned(parts)
        self._faces = {path: {"POST": parts.traced(face, path)} for path, face in faces.posts.items()}
        self._feedback = {method: parts.traced(face, FEEDBACK_ROUTE) for method, face in faces.feedback.items()}
        self._proxies = {source: relay.proxy for source, relay in parts.relays.items()}
        self._others = _starlette(parts)
        self._health = parts.health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._others(scope, receive, send)
            return
        if self._health.draining:
            scope.pop("extensions", None)
            send = _closing(send)
        path = scope["path"]
        methods = self._faces.get(path)
        face = methods.get(scope["method"]) if methods is not None else None
        try:
            if face is not None:
                await face(scope, arrived(scope, receive), send)
            else:
                await self._serve_other(path, scope, receive, send)
        except Exception as error:  # the last resort of a request, so that its client gets an answer in its format
            log.exception("request_failed", path_known=methods is not None, **exception_fields(error))
            await _apologize(path, scope, send)

    async def _serve_other(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        if _is_lunary(path):
            is_feedback = FEEDBACK_PATH.fullmatch(path) is not None
            proxy = self._proxies.get(Source.LUNARY)
            if is_feedback and (face := self._feedback.get(method)) is not None:
                await face(scope, receive, send)
            elif method == "OPTIONS" and (proxy is None or is_feedback or path in self._faces):
                await send_reply(scope, send, preflight(dict(scope["headers"])))
            elif proxy is not None:
                await proxy(scope, receive, send)
            else:
                await send_reply(scope, send, message_reply(404, "Not Found", cors_headers(dict(scope["headers"]))))
        elif path.startswith("/api/"):
            if (proxy := self._proxies.get(Source.LANGWATCH)) is not None:
                await proxy(scope, receive, send)
            else:
                await send_reply(scope, send, langwatch.NOT_FOUND)
        else:
            await self._others(scope, receive, send)


def _closing(send: Send) -> Send:
    """Tells the client to send its next request elsewhere: on a connection that is about to close it could be lost."""

    async def closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        await send(message)

    return closing


class _Owned(NamedTuple):
    """The routes that Plaudit answers itself: ``posts`` by path, ``feedback`` of one run by method."""

    posts: dict[str, Face]
    feedback: dict[str, Face]


def _owned(parts: Parts) -> _Owned:
    """Each face; with a relay around it where its vendor has one, so that a door without pays nothing for it."""
    door, relays, settings = parts.door, parts.relays, parts.door.settings
    feedback = LunaryFeedbackFace(door, parts.reader)

    def langwatch_route(face: Face, cut: CutFeedback) -> Face:
        relay = relays.get(Source.LANGWATCH)
        return relay.around(face, cut) if relay else face

    def lunary_route(face: Face, cut: CutFeedback) -> Face:
        relay = relays.get(Source.LUNARY)
        return relay.around(face, cut) if relay else face

    ingest = lunary_route(LunaryFace(door, legacy=False), lunary_cutter(settings.ingest_body_limit_lunary))
    posts = {
        "/api/track_event": langwatch_route(LangWatchFace(door, malformed={"message": "Bad request"}), nothing),
        "/api/events/track": langwatch_route(LangWatchFace(door, malformed={"error": "Bad request"}), nothing),
        "/api/otel/v1/traces": langwatch_route(TracesFace(door), otlp_cutter(settings.ingest_body_limit_otlp)),
        "/v1/runs/ingest": ingest,
        "/v1/runs/ingest/": ingest,
        "/api/report": lunary_route(LunaryFace(door, legacy=True), lunary_cutter(settings.ingest_body_limit_lunary)),
    }
    return _Owned(posts, {"GET": feedback.get, "PATCH": lunary_route(feedback.patch, nothing)})


def _is_lunary(path: str) -> bool:
    return path.startswith("/v1/") or path == "/api/report"


async def _apologize(path: str, scope: Scope, send: Send) -> None:
    if _is_lunary(path):
        cors = cors_headers(dict(scope["headers"]))
        await send_reply(scope, send, message_reply(500, "Internal Server Error", cors))
    else:
        await send_reply(scope, send, langwatch.FAILED)


def _starlette(parts: Parts) -> Starlette:
    described = openapi.document(version())
    page = openapi.page(described)

    async def openapi_json(_request: Request) -> Response:
        return JSONResponse(described)

    async def docs(_request: Request) -> Response:
        return HTMLResponse(page, headers={"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"})

    async def not_found(_request: Request, _error: Exception) -> Response:
        return JSONResponse({"error": "Not Found"}, status_code=404)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with on_duty(parts):
            yield

    return Starlette(
        routes=[
            Route("/health/live", parts.health.live),
            Route("/health/ready", parts.health.ready),
            Route("/metrics", parts.health.metrics),
            Route("/openapi.json", openapi_json),
            Route("/docs", docs),
        ],
        exception_handlers={404: not_found},
        lifespan=lifespan,
    )


@contextlib.asynccontextmanager
async def on_duty(parts: Parts) -> AsyncIterator[None]:
    """Runs the duties meanwhile. A duty that ends by itself ends the process: nothing works without it."""
    tasks = [asyncio.ensure_future(duty()) for duty in parts.duties]
    for task in tasks:
        task.add_done_callback(_stop_if_dead)
    # One turn of the loop, so that the duties have begun before the first request.
    await asyncio.sleep(0)
    try:
        yield
    finally:
        await call_off(tasks, patience=parts.patience)
        parts.reader.close()


def _stop_if_dead(task: asyncio.Future[None]) -> None:
    if task.cancelled():
        return
    error = task.exception()
    log.error("duty_died", **(exception_fields(error) if error else {}))
    os.kill(os.getpid(), signal.SIGTERM)
