"""Histories in short notation: LangWatch thumbs and Lunary patches on one trace, received at given seconds."""

from __future__ import annotations

import json
from typing import Any

from services.loadgen.history import Delivery, Outcome, Span

BASE = 1_795_000_000_000_000
TRACE = "t1"


def micros(seconds: float) -> int:
    return BASE + round(seconds * 1_000_000)


def thumb(vote: float, *, at: float | None = None, **fields: Any) -> bytes:
    """``at``: client time in seconds after BASE. ``comment`` goes into the details."""
    event: dict[str, Any] = {"trace_id": TRACE, "event_type": "thumbs_up_down", "metrics": {"vote": vote}}
    if "comment" in fields:
        event["event_details"] = {"feedback": fields.pop("comment")}
    if at is not None:
        event["timestamp"] = micros(at) // 1000
    return json.dumps(event | fields).encode()


def patch(feedback: dict[str, Any], *, at: float | None = None, run: str = TRACE) -> bytes:
    event: dict[str, Any] = {"event": "feedback", "runId": run, "feedback": feedback}
    if at is not None:
        event["timestamp"] = micros(at) // 1000
    return json.dumps(event).encode()


def sent(
    *raws: bytes,
    received: float,
    until: float | None = None,
    source: str = "langwatch",
    outcome: Outcome = Outcome.ACKED,
    request_id: bytes = b"",
) -> Delivery:
    """Received at a known instant, or between two."""
    span = Span(micros(received), micros(received if until is None else until))
    return Delivery(source, tuple(enumerate(raws)), outcome, span, request_id)
