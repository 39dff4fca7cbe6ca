"""The routes of the query API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.responses import Response

from shared.events import Source

from . import breakdown as groups
from .access import Access, Reader
from .errors import ApiError
from .export import Export, ExportFormat
from .filters import Filters
from .freshness import Freshness, staleness
from .listing import MOST_EVENTS, newest
from .period import iso, read_interval, read_zone
from .pipeline import Pipeline
from .questions import event_filters, period_filters, while_waited_for
from .story import story
from .summary import summary
from .tail import Tails
from .warehouse import Warehouse

log = structlog.get_logger()

DESCRIPTION = (
    "Answers about the feedback of one project: the one that the read key belongs to. Send it as "
    "`Authorization: Bearer <key>`. Every answer is as if each event had been delivered exactly once. Errors are "
    '`{"error": code, "message": what to change}`.'
)

PeriodFilters = Annotated[Filters, Depends(period_filters)]
EventFilters = Annotated[Filters, Depends(event_filters)]
_EVENT_STREAM = {"cache-control": "no-store", "x-accel-buffering": "no", "x-content-type-options": "nosniff"}


def api(
    access: Access,
    warehouse: Warehouse,
    freshness: Freshness,
    pipeline: Pipeline,
    tails: Tails,
    most_in_parquet: int,
) -> APIRouter:
    """All of them; each asks ``access`` first."""
    router = APIRouter(prefix="/api")
    _add_figures(router, access, warehouse, freshness)
    _add_events(router, access, warehouse, tails, most_in_parquet)

    @router.get("/pipeline", tags=["pipeline"], summary="Backlog, delay, duplicates, dead letters")
    async def pipeline_state(request: Request, reader: Annotated[Reader, Depends(access.reader)]) -> dict[str, Any]:
        return await while_waited_for(request, pipeline.state(reader.project))

    return router


def _add_figures(router: APIRouter, access: Access, warehouse: Warehouse, freshness: Freshness) -> None:
    ReaderOf = Annotated[Reader, Depends(access.reader)]  # noqa: N806 -- a type

    @router.get("/summary", tags=["figures"], summary="Totals and series, and of the period before")
    async def read_summary(
        request: Request,
        reader: ReaderOf,
        filters: PeriodFilters,
        interval: Annotated[
            str | None, Query(description="minute, hour, day or week. Default: by the length of the period.")
        ] = None,
        tz: Annotated[str | None, Query(description="Time zone of days and weeks. Default: UTC.")] = None,
    ) -> dict[str, Any]:
        zone, width = read_zone(tz), read_interval(interval, filters.period)
        asking = asyncio.gather(
            summary(warehouse, reader.project, filters, width, zone), staleness(freshness, _now_micros())
        )
        answer, (as_of, behind) = await while_waited_for(request, _both(asking))
        return {
            "project": reader.project,
            "as_of": iso(as_of) if as_of is not None else None,
            "staleness_seconds": behind,
            **answer,
        }

    @router.get("/breakdown", tags=["figures"], summary="Counts by a column, a detail or a metric")
    async def read_breakdown(
        request: Request,
        reader: ReaderOf,
        filters: PeriodFilters,
        by: Annotated[str, Query(description="source, event_type, user_id, thread_id, detail:<key>, metric:<key>")],
        limit: Annotated[int, Query(ge=1, le=groups.MOST_GROUPS, description="Groups; the rest is `other`.")] = 20,
    ) -> dict[str, Any]:
        dimension = groups.Dimension.read(by)
        return await while_waited_for(request, groups.breakdown(warehouse, reader.project, filters, dimension, limit))

    @router.get("/breakdown/keys", tags=["figures"], summary="Details and metrics to break down by")
    async def read_keys(request: Request, reader: ReaderOf, filters: PeriodFilters) -> dict[str, list[str]]:
        return await while_waited_for(request, groups.keys(warehouse, reader.project, filters))

    @router.get("/metrics", tags=["figures"], summary="Custom metrics: count, mean, percentiles")
    async def read_metrics(request: Request, reader: ReaderOf, filters: PeriodFilters) -> dict[str, Any]:
        return await while_waited_for(request, groups.metrics(warehouse, reader.project, filters))


def _add_events(router: APIRouter, access: Access, warehouse: Warehouse, tails: Tails, most_in_parquet: int) -> None:
    ReaderOf = Annotated[Reader, Depends(access.reader)]  # noqa: N806 -- a type

    @router.get("/events", tags=["events"], summary="Events, newest first, a page at a time")
    async def read_events(
        request: Request,
        reader: ReaderOf,
        filters: EventFilters,
        limit: Annotated[int, Query(ge=1, le=MOST_EVENTS, description="Events of one page.")] = 50,
        cursor: Annotated[str | None, Query(max_length=200, description="`next` of the page before.")] = None,
    ) -> dict[str, Any]:
        asking = newest(warehouse, reader.project, filters, limit, cursor or None)
        return (await while_waited_for(request, asking)).as_dict()

    @router.get("/traces/{trace_id:path}", tags=["events"], summary="One trace: what holds now, and its history")
    async def read_trace(request: Request, reader: ReaderOf, trace_id: str, source: Source | None = None) -> Response:
        asking = story(warehouse, reader.project, trace_id, source.value if source else None)
        # Not by the framework's encoder: a client's own values go out as they are.
        return JSONResponse(await while_waited_for(request, asking))

    @router.get("/export", tags=["events"], summary="The filtered events as NDJSON, CSV or Parquet")
    async def read_export(
        reader: ReaderOf,
        filters: EventFilters,
        fmt: Annotated[ExportFormat, Query(alias="format", description="Of the file.")] = ExportFormat.NDJSON,
    ) -> Response:
        export = Export(warehouse, reader.project, filters, fmt, most_in_parquet)
        await export.check()
        pieces = export.pieces()
        # The first piece before the answer begins, so that what fails at once is said with a status.
        first = await anext(pieces, b"")
        name = f"feedback-{reader.project}-{filters.period.start:%Y%m%d}-{filters.period.end:%Y%m%d}.{fmt.value}"
        headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
        return StreamingResponse(_told(first, pieces), media_type=export.media_type, headers=headers)

    @router.get("/tail", tags=["events"], summary="Events as they come in: server-sent events")
    async def read_tail(
        reader: ReaderOf,
        filters: EventFilters,
        last_event_id: Annotated[str | None, Header(description="Go on after this one.")] = None,
    ) -> Response:
        stream = tails.follow(reader.project, filters, last_event_id)
        return StreamingResponse(stream, media_type="text/event-stream", headers=_EVENT_STREAM)


async def _both(asking: asyncio.Future[Any]) -> Any:
    return await asking


async def _told(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A transfer that fails half-way breaks off, so that nobody takes it for the whole."""
    yield first
    try:
        async for piece in rest:
            yield piece
    except ApiError as error:
        log.warning("export_broke_off", code=error.code)
        raise


def _now_micros() -> int:
    return time.time_ns() // 1000
