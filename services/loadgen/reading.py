"""What one event on the wire says, read by the rules of the two formats.

Written a second time on purpose, in plain Python and without anything of ``shared.formats`` or ``shared.events``:
whoever checks the product must not inherit its mistakes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

LANGWATCH = "langwatch"
LUNARY = "lunary"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MICROSECOND = (datetime(2300, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1) - 1
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_HUMP = re.compile(r"[-_]([A-Za-z])")
_THUMBS = {"up": 1.0, "down": -1.0}


class AsJson(NamedTuple):
    """A detail that is no text: kept as its JSON, whose spelling is free and whose value is not."""

    value: Any


Detail = str | AsJson | None


class Moment(NamedTuple):
    """A client's time. ``exact``: in milliseconds, as told; ``micros``: what a column can hold of it."""

    exact: Decimal
    micros: int
    saturated: bool


class Reading(NamedTuple):
    """One act of feedback as its client meant it. ``identity`` is None where nothing in the event identifies it."""

    source: str
    trace_id: str
    event_type: str
    identity: tuple[object, ...] | None
    moment: Moment | None
    vote: float | None
    comment: str | None
    metrics: Mapping[str, float]
    details: Mapping[str, Detail]
    user_id: str | None
    thread_id: str | None
    event_id: str | None
    raw: bytes


def read(source: str, raw: bytes) -> Reading | None:
    """None for what carries no feedback. Expects events that the vendor's contract accepts."""
    told = json.loads(raw)
    return _read_langwatch(told, raw) if source == LANGWATCH else _read_lunary(told, raw)


def _read_langwatch(told: dict[str, Any], raw: bytes) -> Reading:
    trace_id, event_type = _text(told["trace_id"]), _text(told["event_type"])
    metrics = {_text(name): float(value) for name, value in told["metrics"].items() if math.isfinite(value)}
    details: dict[str, Detail] = {
        _text(name): None if value is None else _text(value) for name, value in told.get("event_details", {}).items()
    }
    is_thumb = event_type == "thumbs_up_down"
    comment = details.get("feedback") if is_thumb else None
    moment = _moment_of_number(told["timestamp"]) if "timestamp" in told else None
    event_id = _text_or_none(told.get("event_id")) or None
    identity: tuple[object, ...] | None = None
    if event_id:
        identity = ("id", event_id)
    elif moment:
        identity = ("time", event_type, moment.exact)
    return Reading(
        LANGWATCH,
        trace_id,
        event_type,
        identity,
        moment,
        metrics["vote"] if is_thumb else None,
        comment if isinstance(comment, str) else None,
        metrics,
        details,
        _first_text(told.get("user_id"), told.get("customer_id")),
        _first_text(told.get("thread_id")),
        event_id,
        raw,
    )


def _read_lunary(told: Any, raw: bytes) -> Reading | None:
    told = _camel_cased(told)
    if not isinstance(told, dict) or told.get("event") not in ("feedback", "chat"):
        return None
    patch = dict(told.get("feedback") or {})
    if told["event"] == "feedback" and isinstance(told.get("extra"), dict):
        patch |= told["extra"]
    run_id = told.get("runId")
    if not patch or not isinstance(run_id, str):
        return None
    trace_id = run_id.lower() if _UUID.fullmatch(run_id) else _text(run_id)
    vote, comment = None, None
    metrics: dict[str, float] = {}
    details: dict[str, Detail] = {}
    for name, value in patch.items():
        if name == "thumb" and (value is None or value in ("up", "down")):
            vote = _THUMBS.get(value, 0.0)
        elif name == "comment" and (value is None or isinstance(value, str)):
            comment = _text(value or "")
        else:
            if isinstance(value, int | float) and name not in ("thumb", "comment") and math.isfinite(value):
                metrics[_text(name)] = float(value)
            details[_text(name)] = _detail(value)
    moment = _moment(told.get("timestamp"))
    touched = tuple(sorted(_text(name) for name in patch))
    identity = ("time", "feedback", moment.exact, touched) if moment else None
    return Reading(
        LUNARY,
        trace_id,
        "feedback",
        identity,
        moment,
        vote,
        comment,
        metrics,
        details,
        _text_or_none(told.get("userId")),
        _text_or_none(told.get("parentRunId")),
        None,
        raw,
    )


def _detail(value: Any) -> Detail:
    if value is None:
        return None
    return _text(value) if isinstance(value, str) else AsJson(value)


def _moment(value: Any) -> Moment | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _moment_of_number(value)
    if not isinstance(value, str) or not (match := _ISO.fullmatch(value)):
        return None
    day, time, fraction, offset = match.groups()
    whole = datetime.fromisoformat(f"{day}T{time}{'+00:00' if offset == 'Z' else offset}")
    seconds = Decimal((whole - _EPOCH) // timedelta(seconds=1)) + Decimal(f"0.{fraction or 0}")
    return _placed(seconds * 1000, int(seconds * 1_000_000))


def _moment_of_number(value: float) -> Moment:
    # JavaScript has no integers: what a number means is the double next to it.
    double = float(value)
    if double.is_integer():
        return _placed(Decimal(int(double)), int(double) * 1000)
    return _placed(Decimal(repr(double)), round(double * 1000))


def _placed(millis: Decimal, micros: int) -> Moment:
    return Moment(millis, min(micros, _LAST_MICROSECOND), micros > _LAST_MICROSECOND)


def _camel_cased(value: Any) -> Any:
    if isinstance(value, dict):
        return {_HUMP.sub(lambda m: m[1].upper(), name): _camel_cased(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_camel_cased(inner) for inner in value]
    return value


def _first_text(*values: Any) -> str | None:
    return next((_text(value) for value in values if isinstance(value, str) and value), None)


def _text_or_none(value: Any) -> str | None:
    return _text(value) if isinstance(value, str) else None


def _text(value: str) -> str:
    """Half of a surrogate pair is no character: readers see U+FFFD in its place."""
    if value.isascii():
        return value
    return re.sub("[\ud800-\udfff]", "�", value)
