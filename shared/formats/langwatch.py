"""LangWatch's tracked event: its wire model, the check at the door, the translation for the worker."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import InvalidEventError
from shared.events import FeedbackEvent, Receipt, canonical
from shared.formats import zod
from shared.formats.nodejson import REFUSALS, check_depth, loads
from shared.times import ClientTime, from_millis

THUMBS = "thumbs_up_down"
_PROTOTYPE = "__proto__"
"""JavaScript's own: the vendor drops such a key from metrics and details, so nobody ever had it."""


def _without_default(schema: dict[str, Any]) -> None:
    """For fields whose default only says, inside, that they were absent."""
    schema.pop("default")


def _not_negative(schema: dict[str, Any]) -> None:
    """Said to readers only: such times are refused in words of their own, below."""
    _without_default(schema)
    schema["minimum"] = 0


class TrackEvent(BaseModel):
    """One act of feedback on a trace. Fields that are not named here are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")

    trace_id: str = Field(description="The trace that is judged. Any string; it need not be known yet.")
    event_type: str = Field(
        description="`thumbs_up_down` (metric `vote` from -1 to 1; 0 takes it back), `selected_text` (metric "
        "`text_length` above 0), `waited_to_finish` (metric `finished` from 0 to 1), or any name of your own."
    )
    metrics: dict[str, float] = Field(description="Numbers, by name. Zeros are kept.")
    event_details: dict[str, str | None] = Field(default_factory=dict, description="Texts, by name.")
    timestamp: float = Field(
        default=math.nan,
        description="When it happened, in milliseconds since 1970. Absent: now.",
        json_schema_extra=_not_negative,
    )
    event_id: str = Field(
        default="",
        description="Names this event: the same id on the same trace again replaces it, never adds to it.",
        json_schema_extra=_without_default,
    )
    user_id: Any = Field(default=None, description="The end user, if a string that is not empty.")
    customer_id: Any = Field(default=None, description="The end user, where `user_id` names nobody.")
    thread_id: Any = Field(default=None, description="The conversation, if a string that is not empty.")


_validate = TrackEvent.__pydantic_validator__.validate_python
_Certain: Any = msgspec.defstruct(
    "_Certain",
    [
        (name, field.annotation, msgspec.NODEFAULT)
        if field.is_required()
        else (name, field.annotation, field.get_default(call_default_factory=True))
        for name, field in TrackEvent.model_fields.items()
    ],
    gc=False,
)
"""The model's fields for the compiled reader, which reads and checks in one pass. It is stricter than the vendor, so
what it takes is taken; what it refuses is read and judged again, exactly. What it passes over without a look (text that
is no UTF-8 in fields that nobody reads) the vendor takes too. A property test holds the two together.
"""
_read_certain = msgspec.json.Decoder(_Certain).decode


def check(body: bytes) -> TrackEvent:
    """One request body, checked by the vendor's contract. ``timestamp`` is NaN where none was sent.

    Raises MalformedJSONError for what is no JSON, InvalidEventError with the vendor's sentence for what breaks a rule.
    """
    event = _read(body)
    takes = zod.PREDEFINED.get(event.event_type)
    if takes is not None and not takes(event.metrics, event.event_details):
        raise InvalidEventError(zod.predefined_sentence(event.event_type, event.metrics, event.event_details))
    timestamp = event.timestamp
    if timestamp < 0:
        raise InvalidEventError('Validation error: Too small: expected number to be >=0 at "timestamp"')
    if math.isinf(timestamp):
        raise InvalidEventError('Validation error: Invalid input: expected number, received number at "timestamp"')
    return event


def parse(body: bytes) -> tuple[TrackEvent, ClientTime | None]:
    """As ``check``, with the time that the client told."""
    event = check(body)
    # No number of JSON is NaN: absent.
    return event, None if math.isnan(event.timestamp) else from_millis(event.timestamp)


def _read(body: bytes) -> TrackEvent:
    try:
        event: TrackEvent = _read_certain(body)
    except REFUSALS:
        return read_exactly(body)
    check_depth(body)
    return event


def read_exactly(body: bytes) -> TrackEvent:
    """What ``parse`` begins with, for any body; it is only slower. Raises as ``parse`` does."""
    value = loads(body)
    try:
        event: TrackEvent = _validate(value)
    except ValidationError:
        raise InvalidEventError(zod.base_sentence(value)) from None
    return event


def normalize(receipt: Receipt, index: int, raw: bytes) -> FeedbackEvent:
    """The canonical event. Raises as ``parse`` does, which cannot happen for what the door took."""
    event, time = parse(raw)
    details, metrics = event.event_details, event.metrics
    if _PROTOTYPE in metrics:
        del metrics[_PROTOTYPE]
    if _PROTOTYPE in details:
        del details[_PROTOTYPE]
    vote = comment = None
    if event.event_type == THUMBS:
        vote = metrics["vote"]
        comment = details.get("feedback")
    if not math.isfinite(sum(metrics.values())):
        metrics = {name: value for name, value in metrics.items() if math.isfinite(value)}
    return canonical(
        receipt,
        index,
        raw,
        trace_id=event.trace_id,
        event_type=event.event_type,
        time=time,
        event_id=event.event_id or None,
        vote=vote,
        comment=comment,
        metrics=metrics,
        details=details,
        user_id=_name(event.user_id) or _name(event.customer_id),
        thread_id=_name(event.thread_id),
    )


def _name(value: Any) -> str | None:
    """Of fields that the vendor passes over: anything may be there, and an empty text names nobody."""
    return value if isinstance(value, str) and value else None
