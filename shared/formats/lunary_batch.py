"""Lunary's request: cut into its events, each judged on its own.

An SDK sends every run here, prompts included; two in a hundred events are feedback. The others are only asked for
the id that their result must name and for the time that it is sorted by.
"""

from __future__ import annotations

import math
import re
from operator import itemgetter
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from shared.errors import InvalidEventError, MalformedJSONError
from shared.formats import lunary
from shared.formats.nodejson import REFUSALS, compact, double, loads
from shared.formats.slices import elements, member
from shared.times import ClientTime

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


Judged = tuple[Item, Any]
"""An event's item, and its timestamp as sent or as read; msgspec.UNSET if it has none."""

_ABSENT = msgspec.Raw(b"")


class Head(msgspec.Struct, gc=False):
    """What is asked of every event. Each of these names has one spelling that camel-casing leads to."""

    runId: msgspec.Raw = _ABSENT  # noqa: N815 -- the wire's name
    timestamp: Any = msgspec.UNSET
    event: Any = None
    feedback: msgspec.Raw = _ABSENT

    @property
    def run_id(self) -> bytes | None:
        if self.runId is _ABSENT:
            return None
        sent = bytes(self.runId)
        # Replies are UTF-8, whatever came.
        return sent if sent.isascii() else sent.decode("utf-8", "replace").encode()


def _may_be_feedback(head: Head) -> bool:
    return head.event == lunary.FEEDBACK or (head.event == lunary.CHAT and head.feedback is not _ABSENT)


H = TypeVar("H", bound=Head)


class _Heads(msgspec.Struct, Generic[H], gc=False):
    events: list[H]


class Batch(NamedTuple, Generic[H]):
    """A request: its items in the order of its results, and the heads of its events in the order they were sent. No
    heads where only the exact reader reads the body.
    """

    items: list[Item]
    heads: list[H]


class _Slices(msgspec.Struct, gc=False):
    events: list[msgspec.Raw]


_read_head = msgspec.json.Decoder(Head).decode
_slices = msgspec.json.Decoder(_Slices).decode


class BatchReader(Generic[H]):
    """Reads requests. ``head``: what is read of every event, in the one pass that there is."""

    def __init__(self, head: type[H]) -> None:
        self._read_heads = msgspec.json.Decoder(_Heads[head]).decode  # type: ignore[valid-type]

    def read(self, body: bytes) -> Batch[H]:
        """The events of a request, in the order of their timestamps, as the vendor orders its results.

        Raises MalformedJSONError for what is no JSON, InvalidEventError for what is no batch of events.
        """
        try:
            heads = self._read_heads(body).events
        except REFUSALS:
            # Not what SDKs send, but perhaps what the vendor takes: no compiled reader judges these.
            pieces = _events(body)
            _refuse_prototype_keys(body, pieces)
            return Batch(_in_time_order([_judged(place, piece) for place, piece in enumerate(pieces)]), [])
        if not any(map(_may_be_feedback, heads)):
            return Batch(_in_time_order([_skipped(place, head) for place, head in enumerate(heads)]), heads)
        pieces = [bytes(piece) for piece in _slices(body).events]
        _refuse_prototype_keys(body, pieces)
        judged = [
            _judged_feedback(place, pieces[place], head) if _may_be_feedback(head) else _skipped(place, head)
            for place, head in enumerate(heads)
        ]
        return Batch(_in_time_order(judged), heads)


_plain = BatchReader(Head)


def split(body: bytes) -> list[Item]:
    """The items of a request. Raises as ``BatchReader.read`` does."""
    return _plain.read(body).items


def _skipped(place: int, head: Head) -> Judged:
    return tuple.__new__(Item, (place, head.run_id, None, None, None)), head.timestamp


def _events(body: bytes) -> list[bytes]:
    """The events of a body in whichever form it comes."""
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


def _refuse_prototype_keys(body: bytes, events: list[bytes]) -> None:
    """The vendor refuses a whole batch for one ``__proto__`` key at any depth, and so do we where something of the
    batch is kept: it is an attack.
    """
    suspicious = b"__proto__" in body or (b"\\u00" in body and _ESCAPED_PROTOTYPE.search(body))
    if suspicious and any(map(_names_prototype, events)):
        raise InvalidEventError(FORBIDDEN_KEY)


def _names_prototype(event: bytes) -> bool:
    try:
        return _has_prototype_key(loads(event))
    except MalformedJSONError:
        return False  # nests too deep: it fails alone, and nothing of it is kept


def _has_prototype_key(value: Any) -> bool:
    if isinstance(value, dict):
        return _PROTOTYPE in value or any(map(_has_prototype_key, value.values()))
    return isinstance(value, list) and any(map(_has_prototype_key, value))


def _judged(place: int, raw: bytes) -> Judged:
    if raw[:1] == b"[":
        inner = elements(raw)
        if len(inner) == 1:
            # The vendor sorts before it unwraps: a wrapped event has no time.
            return _judged(place, inner[0])[0], msgspec.UNSET
    try:
        head = _read_head(raw)
    except REFUSALS:
        return _judged_whole(place, raw)
    return _judged_feedback(place, raw, head) if _may_be_feedback(head) else _skipped(place, head)


def _judged_whole(place: int, raw: bytes) -> Judged:
    """For an event that the compiled reader does not read."""
    try:
        event = loads(raw)
    except MalformedJSONError as refusal:
        return Item(place, None, None, None, refusal.reason), msgspec.UNSET
    head = Head()
    if isinstance(event, dict):
        head.timestamp = event.get("timestamp", msgspec.UNSET)
        if "runId" in event:
            head.runId = msgspec.Raw(compact(event["runId"]).encode())
    return _judged_feedback(place, raw, head)


def _judged_feedback(place: int, raw: bytes, head: Head) -> Judged:
    try:
        patch = lunary.read(raw)
    except InvalidEventError as refusal:
        return Item(place, head.run_id, None, None, refusal.message), head.timestamp
    except MalformedJSONError as refusal:
        return Item(place, head.run_id, None, None, refusal.reason), head.timestamp
    if patch is None:
        return _skipped(place, head)
    # Made as a tuple of the class: calling the class costs twice as much.
    return tuple.__new__(Item, (place, head.run_id, raw, patch.app_id, None)), patch.time or head.timestamp


def _in_time_order(judged: list[Judged]) -> list[Item]:
    """By time, stable. An event that tells no time stays behind the one it was sent after."""
    if len(judged) == 1:
        return [judged[0][0]]
    keyed = []
    latest, ordered = -math.inf, True
    for item, timestamp in judged:
        millis = _millis(timestamp)
        if millis is not None:
            ordered = ordered and millis >= latest
            latest = millis
        keyed.append((latest, item))
    if not ordered:
        keyed.sort(key=_first)
    return [item for _, item in keyed]


_first = itemgetter(0)


def _millis(timestamp: Any) -> float | None:
    """The time of an event for sorting, as JavaScript has it: null is 1970, what is no date is none."""
    if isinstance(timestamp, ClientTime):
        return timestamp.micros / 1000 if not timestamp.saturated else float(timestamp.exact)
    if timestamp is None:
        return 0.0
    if isinstance(timestamp, int | float) and not isinstance(timestamp, bool):
        return double(timestamp)
    if isinstance(timestamp, str):
        try:
            return _millis(lunary.client_time(timestamp) or msgspec.UNSET)
        except InvalidEventError:
            return -math.inf
    return None
