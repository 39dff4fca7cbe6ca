"""Requests without their feedback, for teams that keep it to themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.ingest_api.body import inflate
from shared.errors import InvalidEventError
from shared.formats.lunary import FEEDBACK
from shared.formats.nodejson import compact, loads
from shared.formats.otlp import is_json, json_without_events, protobuf_without_events
from shared.formats.otlp_events import EVENT
from shared.formats.slices import elements, member

from .capture import CutFeedback, Kept


def nothing(_body: bytes, _headers: Mapping[bytes, bytes]) -> None:
    """For routes that carry nothing but feedback."""


def lunary_cutter(limit: int) -> CutFeedback:
    """``limit``: bytes of an unpacked body.

    Events that are feedback go, and so does the feedback in others; what is left stands as it was sent, byte for byte
    but for the events that had feedback inside.
    """

    def cut(body: bytes, headers: Mapping[bytes, bytes]) -> Kept | None:
        plain = inflate(body, headers.get(b"content-encoding", b""), limit)
        if b"feedback" not in plain and b"\\u00" not in plain:
            return Kept(body, plain=False)
        sent = _events(plain)
        left = [kept for raw in sent if (kept := _without_feedback(raw)) is not None]
        if left == sent:
            return Kept(body, plain=False)
        if not left:
            return None
        return Kept(b'{"events":[' + b",".join(left) + b"]}", plain=True)

    return cut


def otlp_cutter(limit: int) -> CutFeedback:
    """``limit``: bytes of an unpacked body. Takes the span events that are feedback out of traces."""

    def cut(body: bytes, headers: Mapping[bytes, bytes]) -> Kept | None:
        plain = inflate(body, headers.get(b"content-encoding", b""), limit)
        if EVENT.encode() not in plain:
            return Kept(body, plain=False)
        without = json_without_events if is_json(headers) else protobuf_without_events
        return Kept(without(plain, EVENT), plain=True)

    return cut


def _events(body: bytes) -> list[bytes]:
    events = member(body, "events")
    if events is None:
        raise InvalidEventError("no events")
    return elements(events) if events[:1] == b"[" else [events]


def _without_feedback(raw: bytes) -> bytes | None:
    if b"feedback" not in raw and b"\\u00" not in raw:
        return raw
    event: Any = loads(raw)
    if isinstance(event, list) and len(event) == 1:
        event = event[0]
    if not isinstance(event, dict):
        return raw
    if event.get("event") == FEEDBACK:
        return None
    kept = _without(event)
    if isinstance(message := event.get("message"), dict):
        kept["message"] = _without(message)
    return raw if kept == event else compact(kept).encode()


def _without(value: dict[str, Any]) -> dict[str, Any]:
    return {name: item for name, item in value.items() if name != FEEDBACK}
