"""The routes of the query API."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.responses import Response

from shared.events import Source

from . import breakdown as groups
from .errors import ApiError
from .export import Export, ExportFormat
from .filters import Filters
from .freshness import Freshness, staleness
from .listing import MOST_EVENTS, newest
from .parts import PartsOf, ReaderOf
from .period import Interval, iso, read_interval, read_zone
from .questions import event_filters, live_filters, period_filters, while_waited_for
from .story import story
from .summary import summary

log = structlog.get_logger()

DESCRIPTION = (
    "Answers about the feedback of one project: the one that the read key belongs to. Send it as "
    "Authorization: Bearer <key>. Every answer is as if each event had been delivered exactly once. Errors are "
    '{"error": code, "message": what to change}.'
)

PeriodFilters = Annotated[Filters, Depends(period_filters)]
EventFilters = Annotated[Filters, Depends(event_filters)]

_INTERVALS = f"{', '.join(Interval)}. Default: by the length of the period."
_EVENT_STREAM = {"x-accel-buffering": "no"}

router = APIRouter(prefix="/api")


@router.get("/summary", tags=["figures"], summary="Totals and series, and of the period before")
async def read_summary(
    request: Request,
    parts: PartsOf,
    reader: ReaderOf,
    filters: PeriodFilters,
    interval: Annotated[str | None, Query(description=_INTERVALS)] = None,
    tz: Annotated[str | None, Query(description="Time zone of days and weeks. Default: UTC.")] = None,
) -> dict[str, Any]:
    zone, width = read_zone(tz), read_interval(interval, filters.period)
    # Before the figures are read, so that they are never said to be fresher than they are.
    as_of = await _as_of(parts.freshness)
    figures = await while_waited_for(request, summary(parts.warehouse, reader.project, filters, width, zone))
    return {"project": reader.project, **as_of, **figures}


@router.get("/breakdown", tags=["figures"], summary="Counts by a column, a detail or a metric")
async def read_breakdown(
    request: Request,
    parts: PartsOf,
    reader: ReaderOf,
    filters: PeriodFilters,
    by: Annotated[
        str,
        Query(
            description="source, event_type, user_id, thread_id; of the trace: model, prompt, version, run, user; "
            "detail:<key>, metric:<key>"
        ),
    ],
    limit: Annotated[int, Query(ge=1, le=groups.MOST_GROUPS, description="Groups; the rest is in other.")] = 20,
) -> dict[str, Any]:
    dimension = groups.Dimension.read(by)
    asking = groups.breakdown(parts.warehouse, reader.project, filters, dimension, limit)
    return await while_waited_for(request, asking)


@router.get("/breakdown/keys", tags=["figures"], summary="Details and metrics to break down by")
async def read_keys(request: Request, parts: PartsOf, reader: ReaderOf, filters: PeriodFilters) -> dict[str, list[str]]:
    return await while_waited_for(request, groups.keys(parts.warehouse, reader.project, filters))


@router.get("/metrics", tags=["figures"], summary="Custom metrics: count, mean, percentiles")
async def read_metrics(request: Request, parts: PartsOf, reader: ReaderOf, filters: PeriodFilters) -> dict[str, Any]:
    return await while_waited_for(request, groups.metrics(parts.warehouse, reader.project, filters))


@router.get("/events", tags=["events"], summary="Events, newest first, a page at a time")
async def read_events(
    request: Request,
    parts: PartsOf,
    reader: ReaderOf,
    filters: EventFilters,
    limit: Annotated[int, Query(ge=1, le=MOST_EVENTS, description="Events of one page.")] = 50,
    cursor: Annotated[str | None, Query(max_length=200, description="What the page before said under next.")] = None,
) -> dict[str, Any]:
    asking = newest(parts.warehouse, reader.project, filters, limit, cursor or None)
    return (await while_waited_for(request, asking)).as_dict()


@router.get("/traces/{trace_id:path}", tags=["events"], summary="One trace: what holds now, and its history")
async def read_trace(
    request: Request, parts: PartsOf, reader: ReaderOf, trace_id: str, source: Source | None = None
) -> Response:
    asking = story(parts.warehouse, reader.project, trace_id, source.value if source else None)
    return JSONResponse(await while_waited_for(request, asking))


@router.get("/export", tags=["events"], summary="The filtered events as a file")
async def read_export(
    parts: PartsOf,
    reader: ReaderOf,
    filters: EventFilters,
    fmt: Annotated[ExportFormat, Query(alias="format", description="Of the file.")] = ExportFormat.NDJSON,
) -> Response:
    export = Export(parts.warehouse, reader.project, filters, fmt, parts.most_in_parquet)
    await export.check()
    pieces = export.pieces()
    # The first piece before the answer begins, so that what fails at once is said with a status.
    first = await anext(pieces, b"")
    name = f"feedback-{reader.project}-{filters.period.start:%Y%m%d}-{filters.period.end:%Y%m%d}.{fmt.value}"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(_told(first, pieces), media_type=export.media_type, headers=headers)


@router.get("/tail", tags=["events"], summary="Events as they come in: server-sent events")
async def read_tail(
    parts: PartsOf,
    reader: ReaderOf,
    filters: Annotated[Filters, Depends(live_filters)],
    last_event_id: Annotated[str | None, Header(description="Go on after this one.")] = None,
) -> Response:
    stream = parts.tails.follow(reader.project, filters, last_event_id)
    return StreamingResponse(stream, media_type="text/event-stream", headers=_EVENT_STREAM)


@router.get("/pipeline", tags=["pipeline"], summary="Backlog, delay, duplicates, dead letters")
async def read_pipeline(request: Request, parts: PartsOf, reader: ReaderOf) -> dict[str, Any]:
    return await while_waited_for(request, parts.pipeline.state(reader.project))


@router.api_route("/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
async def unknown(rest: str) -> Response:
    raise ApiError(404, "not_found", f"There is no /api/{rest[:100]} to be asked so; /docs lists what there is.")


async def _told(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A transfer that fails half-way breaks off, so that nobody takes it for the whole."""
    yield first
    try:
        async for piece in rest:
            yield piece
    except ApiError as error:
        log.warning("export_broke_off", code=error.code)
        raise


async def _as_of(freshness: Freshness) -> dict[str, Any]:
    as_of, behind = await staleness(freshness, time.time_ns() // 1000)
    return {"as_of": iso(as_of) if as_of is not None else None, "staleness_seconds": behind}
