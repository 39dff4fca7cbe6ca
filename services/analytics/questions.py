"""What all questions have in common: their query parameters, and that they end when nobody waits for the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query, Request

from shared.events import Source

from .errors import ApiError
from .filters import Filters, VoteFilter
from .period import EPOCH, LATEST, Period, read_period

_Answer = TypeVar("_Answer")

_LOOK_EVERY = 0.25
_CLIENT_CLOSED = 499

From = Annotated[
    str | None, Query(alias="from", description="Begin, included: ISO 8601 or epoch ms. Default: 7 days before `to`.")
]
To = Annotated[str | None, Query(alias="to", description="End, not included: ISO 8601 or epoch ms. Default: now.")]
SourceName = Annotated[Source | None, Query(description="Only this format.")]
EventType = Annotated[str | None, Query(max_length=500, description="Only this type of event.")]


def period_filters(
    since: From = None, until: To = None, source: SourceName = None, event_type: EventType = None
) -> Filters:
    """Those that every question takes. Raises ApiError."""
    period = read_period(since, until, datetime.now(UTC))
    return Filters(period, source=source.value if source else None, event_type=event_type or None)


def event_filters(
    since: From = None,
    until: To = None,
    source: SourceName = None,
    event_type: EventType = None,
    vote: Annotated[VoteFilter | None, Query(description="What is said of the vote; zero: taken back.")] = None,
    has_comment: Annotated[bool | None, Query(description="With, or without, a comment that is not empty.")] = None,
    search: Annotated[str | None, Query(max_length=500, description="Text in the comment, in any case.")] = None,
    user_id: Annotated[str | None, Query(max_length=1000, description="Of this end user.")] = None,
    trace_id: Annotated[str | None, Query(max_length=1000, description="On this trace or run.")] = None,
    current: Annotated[
        bool, Query(description="One event a trace, with its vote and comment as they are now; filters mean those.")
    ] = False,
) -> Filters:
    """Those of lists of events. Raises ApiError."""
    period = read_period(since, until, datetime.now(UTC))
    return Filters(
        period,
        source=source.value if source else None,
        event_type=event_type or None,
        vote=vote,
        has_comment=has_comment,
        search=search or None,
        user_id=user_id or None,
        trace_id=trace_id or None,
        current=current,
    )


def live_filters(filters: Annotated[Filters, Depends(event_filters)], request: Request) -> Filters:
    """Those of the live tail: unless it is said otherwise, whatever time the events are of."""
    start = filters.period.start if request.query_params.get("from") else EPOCH
    end = filters.period.end if request.query_params.get("to") else LATEST
    return replace(filters, period=Period(start, end), current=False)


async def while_waited_for(request: Request, asking: Coroutine[Any, Any, _Answer]) -> _Answer:
    """The answer; or the end of the query, when the client has gone. Raises what the question raises."""
    task = asyncio.create_task(asking)
    try:
        while True:
            done, _ = await asyncio.wait({task}, timeout=_LOOK_EVERY)
            if done:
                return task.result()
            if await request.is_disconnected():
                raise ApiError(_CLIENT_CLOSED, "gone", "The client has gone.")
    finally:
        task.cancel()
