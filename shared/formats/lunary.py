"""Lunary's feedback event: reading one as its server would, and the translation for the worker.

A Lunary feedback is a patch: it touches some keys of a run's feedback and leaves the others alone.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from shared.errors import InvalidEventError
from shared.events import FeedbackEvent, Receipt, canonical, length_prefixed
from shared.formats.nodejson import REFUSALS, check_depth, compact, double, loads
from shared.times import ClientTime, from_millis, from_text

FEEDBACK = "feedback"
CHAT = "chat"
_VOTES = {"up": 1.0, "down": -1.0, None: 0.0}
_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_UUID_LENGTH = 36
_EXACT_DOUBLES = 2**53
_SHORT_NAME = 64
"""Clients use few names again and again; longer ones are not remembered, since memory is bounded."""

_WORD_BREAK = re.compile(r"[-_]([a-zA-Z])")


class Patch(NamedTuple):
    """What one event says: the keys it touches of the feedback of one run, camel-cased, with their JSON values."""

    run_id: str
    time: ClientTime | None
    values: dict[str, Any]
    user_id: str | None
    thread_id: str | None
    app_id: str | None


class _Event(msgspec.Struct, gc=False, rename="camel"):
    """Of one event the members that are looked at; None where absent."""

    event: Any = None
    run_id: Any = None
    timestamp: Any = None
    feedback: Any = None
    extra: Any = None
    user_id: Any = None
    parent_run_id: Any = None
    app_id: Any = None


_Certain: Any = msgspec.defstruct(
    "_Certain",
    [
        (name, msgspec.Raw, msgspec.Raw(b""))
        for name in (
            *("type", "name", "user_props", "tags", "thread_tags", "message", "input", "output", "error", "runtime"),
            *("tokens_usage", "metadata", "params", "template_id", "thread_metadata", "overwrite"),
        )
    ],
    bases=(_Event,),
    forbid_unknown_fields=True,
    gc=False,
    rename="camel",
)
"""An event with no other members than the SDKs send, read and cut to what is looked at in one pass. Any other event
(another spelling of a member's name among them) is read exactly. A property test holds the two together.
"""
_read_certain = msgspec.json.Decoder(_Certain).decode


def _event(raw: bytes) -> _Event:
    try:
        event: _Event = _read_certain(raw)
    except REFUSALS:
        return event_exactly(raw)
    check_depth(raw)
    return event


def event_exactly(raw: bytes) -> _Event:
    """What ``read`` begins with, for any event; it is only slower. Raises as ``read`` does."""
    event = loads(raw)
    if not isinstance(event, dict):
        raise InvalidEventError("event must be an object")
    names = "".join(event)
    if "_" in names or "-" in names:
        event = {camel_case(name): value for name, value in event.items()}
    look = event.get
    return _Event(
        look("event"),
        look("runId"),
        look("timestamp"),
        look("feedback"),
        look("extra"),
        look("userId"),
        look("parentRunId"),
        look("appId"),
    )


def read(raw: bytes) -> Patch | None:
    """The patch in one event, or None if it is not feedback or touches nothing.

    Raises InvalidEventError where this event alone must fail, MalformedJSONError for what is no JSON.
    """
    event = _event(raw)
    name = event.event
    if name not in (FEEDBACK, CHAT):
        return None
    run_id = event.run_id
    if name == FEEDBACK and isinstance(run_id, str):
        run_id = checked_run_id(run_id)
    values = _patch_values(event, name)
    if not values:
        return None
    if not isinstance(run_id, str):
        raise InvalidEventError("runId must be a string")
    if name != FEEDBACK:
        run_id = checked_run_id(run_id)
    timestamp, user_id, thread_id, app_id = event.timestamp, event.user_id, event.parent_run_id, event.app_id
    # Made as a tuple of the class: calling the class costs twice as much.
    return tuple.__new__(
        Patch,
        (
            run_id,
            None if timestamp is None else client_time(timestamp),
            values,
            user_id if isinstance(user_id, str) else None,
            thread_id if isinstance(thread_id, str) else None,
            app_id if isinstance(app_id, str) else None,
        ),
    )


def checked_run_id(run_id: str) -> str:
    """A run id as it is kept: UUIDs in lower case, any other as sent.

    Raises InvalidEventError for one of 36 characters or none that is no UUID: the vendor takes those for UUIDs.
    """
    if len(run_id) not in (_UUID_LENGTH, 0):
        return run_id
    if not is_uuid(run_id):
        raise InvalidEventError(f'invalid input syntax for type uuid: "{run_id}"')
    return run_id.lower()


def _patch_values(event: _Event, name: str) -> dict[str, Any]:
    feedback = event.feedback
    if feedback is None:
        feedback = {}
    elif not isinstance(feedback, dict):
        raise InvalidEventError("feedback must be an object")
    extra = event.extra if name == FEEDBACK else None
    if isinstance(extra, dict) and extra:
        return {**_object_camel_cased(feedback), **_object_camel_cased(extra)}
    return _object_camel_cased(feedback)


def _object_camel_cased(value: dict[str, Any]) -> dict[str, Any]:
    """``camel_cased`` for an object, without a copy where nothing changes: most feedback is one plain key."""
    for key, item in value.items():
        if "_" in key or "-" in key or isinstance(item, (dict, list)):
            return {
                camel_case(name): camel_cased(inner) if isinstance(inner, (dict, list)) else inner
                for name, inner in value.items()
            }
    return value


def is_uuid(text: str) -> bool:
    """8-4-4-4-12 hexadecimal digits, of either case."""
    return len(text) == _UUID_LENGTH and _UUID.fullmatch(text) is not None


def client_time(value: Any) -> ClientTime | None:
    """What JavaScript's ``new Date(value)`` makes of a timestamp; None where it makes nothing of it.

    Raises InvalidEventError for times before 1970 and infinite ones.
    """
    if type(value) is int and 0 <= value < _EXACT_DOUBLES:
        return from_millis(value)
    if isinstance(value, str):
        return from_text(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return from_millis(double(value))
    return None


def camel_case(name: str) -> str:
    """``-`` or ``_`` before a letter goes, and the letter becomes a capital: my_rating → myRating, x_1 stays."""
    return _short_camel_case(name) if len(name) <= _SHORT_NAME else _WORD_BREAK.sub(_capital, name)


@lru_cache(maxsize=4096)
def _short_camel_case(name: str) -> str:
    return _WORD_BREAK.sub(_capital, name)


def _capital(found: re.Match[str]) -> str:
    return found[1].upper()


def camel_cased(value: Any) -> Any:
    """A JSON value with the keys of all its objects camel-cased, at any depth."""
    if isinstance(value, dict):
        return {
            camel_case(key) if "_" in key or "-" in key else key: camel_cased(item)
            if isinstance(item, dict | list)
            else item
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [camel_cased(item) for item in value]
    return value


def normalize(receipt: Receipt, index: int, raw: bytes) -> FeedbackEvent | None:
    """The canonical event, or None for what is not feedback. Raises as ``read`` does."""
    patch = read(raw)
    if patch is None:
        return None
    vote = comment = None
    metrics: dict[str, float] = {}
    details: dict[str, str | None] = {}
    for key, value in patch.values.items():
        if key == "thumb" and (value is None or isinstance(value, str)) and value in _VOTES:
            vote = _VOTES[value]
        elif key == "comment" and (value is None or isinstance(value, str)):
            comment = value or ""
        elif value is None or isinstance(value, str):
            details[key] = value
        else:
            details[key] = _detail(value)
            if isinstance(value, (int, float)) and key not in ("thumb", "comment"):
                number = double(value)
                if math.isfinite(number):
                    metrics[key] = number
    names = patch.values if len(patch.values) == 1 else sorted(patch.values)
    return canonical(
        receipt,
        index,
        raw,
        trace_id=patch.run_id,
        event_type=FEEDBACK,
        time=patch.time,
        touched=b"".join([length_prefixed(name.encode()) for name in names]),
        vote=vote,
        comment=comment,
        metrics=metrics,
        details=details,
        user_id=patch.user_id,
        thread_id=patch.thread_id,
    )


def _detail(value: Any) -> str | None:
    if value is True:
        return "true"
    if value is False:
        return "false"
    if type(value) is int and abs(value) < _EXACT_DOUBLES:
        return str(value)
    written = compact(value)
    return None if written == "null" else written
