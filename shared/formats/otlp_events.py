"""The feedback in OTLP traces: span events called ``langwatch.event``.

Each becomes a LangWatch tracked event that names itself by trace, span, type and place, so that an exporter's retry is
the same event again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from shared.errors import InvalidEventError, MalformedJSONError
from shared.formats import langwatch
from shared.formats.otlp import Attributes, Span, SpanEvent, is_number

EVENT = "langwatch.event"
_SYNTHETIC_SPAN = "langwatch.track_event"
"""What the vendor itself makes of a tracked event: taking it for feedback would go round for ever."""

_METRIC = "event.metrics."
_DETAIL = "event.details."


class TrackedEvents(NamedTuple):
    """accepted: tracked events as JSON. refused: how many broke the vendor's rules."""

    accepted: list[bytes]
    refused: int


def tracked_events(spans: Iterable[Span]) -> TrackedEvents:
    """The feedback in ``spans``, checked by the vendor's rules for tracked events."""
    accepted: list[bytes] = []
    refused = 0
    for span in spans:
        if span.name == _SYNTHETIC_SPAN:
            continue
        for index, event in enumerate(span.events):
            event_type = event.attributes.get("event.type")
            if event.name != EVENT or not isinstance(event_type, str) or event_type in ("", EVENT):
                continue
            raw = _tracked(span, index, event, event_type)
            try:
                langwatch.parse(raw)
            except (InvalidEventError, MalformedJSONError):
                refused += 1
            else:
                accepted.append(raw)
    return TrackedEvents(accepted, refused)


def _tracked(span: Span, index: int, event: SpanEvent, event_type: str) -> bytes:
    identity = f"{span.trace_id}:{span.span_id}:{event_type}:{index}"
    tracked: dict[str, Any] = {
        "trace_id": span.trace_id,
        "event_type": event_type,
        "metrics": {
            key.removeprefix(_METRIC): value
            for key, value in event.attributes.items()
            if key.startswith(_METRIC) and key != _METRIC and is_number(value)
        },
        "event_details": {
            key.removeprefix(_DETAIL): value
            for key, value in event.attributes.items()
            if key.startswith(_DETAIL) and key != _DETAIL and isinstance(value, str)
        },
        "event_id": "event_sha_" + hashlib.sha256(identity.encode()).hexdigest()[:32],
    }
    if event.nanos > 0:
        # The span event's own time: the vendor takes that of the receipt, which an exporter's batching shifts.
        tracked["timestamp"] = event.nanos / 1e6
    for name, keys in (("user_id", USER_KEYS), ("thread_id", THREAD_KEYS)):
        if (told := first_text(span.attributes, keys)) is not None:
            tracked[name] = told
    return msgspec.json.encode(tracked)


USER_KEYS = ("langwatch.user.id", "user.id", "enduser.id", "langwatch.customer.id")
THREAD_KEYS = ("langwatch.thread.id", "gen_ai.conversation.id", "session.id", "langwatch.session.id")


def first_text(attributes: Attributes, keys: Iterable[str]) -> str | None:
    """The first of these attributes that is a text and not empty."""
    for key in keys:
        value = attributes.get(key)
        if isinstance(value, str) and value:
            return value
    return None
