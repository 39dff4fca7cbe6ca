"""Lunary's request: cut into its events, each judged on its own.

An SDK sends every run here, prompts included; two in a hundred events are feedback. The others are only asked for
the id that their result must name and for the time that it is sorted by.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import msgspec

from shared.errors import InvalidEventError, MalformedJSONError
from shared.formats import lunary
from shared.formats.nodejson import REFUSALS, compact, double, loads
from shared.formats.slices import elements, member

MISSING_EVENTS = "Missing events payload."
FORBIDDEN_KEY = "Object contains forbidden prototype property"

_PROTOTYPE = "__proto__"
_ESCAPED_PROTOTYPE = re.compile(rb"\\u00[2-7]", re.IGNORECASE)


class Item(NamedTuple):
    """One event of a request.

    place: where it stands in the request. run_id: the JSON of its ``runId`` as sent, None if it has none.
    raw: its own bytes, if it is feedback to be kept; app_id: which key or project it names, then.
    error: why it fails, in words for the client. With neither raw nor error it is no feedback, and fine.
    """

    place: int
    run_id: bytes | None
    raw: bytes | None
    app_id: str | None
    error: str | None


class _Batch(msgspec.Struct, gc=False):
    events: list[msgspec.Raw]


class _Head(msgspec.Struct, gc=False):
    runId: msgspec.Raw = msgspec.Raw(b"")  # noqa: N815 -- the wire's name
    timestamp: Any = msgspec.UNSET


_read_batch = msgspec.json.Decoder(_Batch).decode
_read_head = msgspec.json.Decoder(_Head).decode


def split(body: bytes) -> list[Item]:
    """The events of a request, in the order of their timestamps, as the vendor orders its results.

    Raises MalformedJSONError for what is no JSON, InvalidEventError for what is no batch of events.
    """
    _refuse_prototype_keys(body)
    pieces = _events(body)
    if len(pieces) == 1:
        return [_judged(0, pieces[0])[0]]
    judged = [_judged(index, piece) for index, piece in enumerate(pieces)]
    return _in_time_order(judged)


def _events(body: bytes) -> list[bytes]:
    try:
        return [bytes(piece) for piece in _read_batch(body).events]
    except REFUSALS:
        pass
    if not body.strip():
        raise InvalidEventError(MISSING_EVENTS)
    events = member(body, "events")
    if events is None:
        if not body.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"{", b"[")):
            raise MalformedJSONError("the body must be an object")
        raise InvalidEventError(MISSING_EVENTS)
    if events[:1] == b"[":
        return elements(events)
    if events[:1] == b"{":
        return [events]
    raise InvalidEventError(MISSING_EVENTS)


def _refuse_prototype_keys(body: bytes) -> None:
    """The vendor refuses a whole batch for one ``__proto__`` key at any depth, and so do we: it is an attack."""
    if b"__proto__" in body or _ESCAPED_PROTOTYPE.search(body):
        events = loads(body)
        if _has_prototype_key(events):
            raise InvalidEventError(FORBIDDEN_KEY)


def _has_prototype_key(value: Any) -> bool:
    if isinstance(value, dict):
        return _PROTOTYPE in value or any(map(_has_prototype_key, value.values()))
    return isinstance(value, list) and any(map(_has_prototype_key, value))


def _judged(index: int, raw: bytes) -> tuple[Item, float | None]:
    """One event's item, and its time in milliseconds; None if it tells none."""
    if raw[:1] == b"[":
        inner = elements(raw)
        if len(inner) == 1:
            raw = inner[0]
    try:
        head = _read_head(raw)
        run_id, timestamp = bytes(head.runId) or None, head.timestamp
    except REFUSALS:
        try:
            run_id, timestamp = _head_of(raw)
        except (MalformedJSONError, InvalidEventError) as refusal:
            return Item(index, None, None, None, str(refusal)), None
    item = _item(index, run_id, raw)
    return item, _sort_time(timestamp)


def _head_of(raw: bytes) -> tuple[bytes | None, Any]:
    """As the compiled reader does, for events that it does not read: lone surrogates, 1e999, no object."""
    event = loads(raw)
    if not isinstance(event, dict):
        raise InvalidEventError("event must be an object")
    run_id = compact(event["runId"]).encode() if "runId" in event else None
    return run_id, event.get("timestamp", msgspec.UNSET)


def _item(index: int, run_id: bytes | None, raw: bytes) -> Item:
    if b"feedback" not in raw and b"\\u00" not in raw:
        return Item(index, run_id, None, None, None)
    try:
        patch = lunary.read(raw)
    except InvalidEventError as refusal:
        return Item(index, run_id, None, None, refusal.message)
    except MalformedJSONError as refusal:
        return Item(index, run_id, None, None, refusal.reason)
    if patch is None:
        return Item(index, run_id, None, None, None)
    return Item(index, run_id, raw, patch.app_id, None)


def _sort_time(timestamp: Any) -> float | None:
    if timestamp is None:
        return 0.0
    if isinstance(timestamp, int | float) and not isinstance(timestamp, bool):
        return double(timestamp)
    if isinstance(timestamp, str):
        try:
            time = lunary.client_time(timestamp)
        except InvalidEventError:
            return -math.inf
        return float(time.exact) if time else None
    return None


def _in_time_order(judged: list[tuple[Item, float | None]]) -> list[Item]:
    """By time, stable. An event that tells no time stays behind the one it was sent after."""
    keyed = []
    latest = -math.inf
    for item, time in judged:
        if time is not None:
            latest = time
        keyed.append((latest, item.place, item))
    keyed.sort(key=lambda entry: entry[:2])
    return [item for _, _, item in keyed]
