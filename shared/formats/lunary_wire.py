"""Lunary's request and replies as models, for the OpenAPI document.

They tell what a client should send. What the vendor's server takes besides (keys in snake_case, any type for what
is not looked at) is read by ``lunary`` and ``lunary_batch``, event by event.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

JsonObject = dict[str, Any]


class LunaryEvent(BaseModel):
    """One event. Those that carry feedback are kept; all others are accepted and counted."""

    model_config = ConfigDict(extra="allow")

    event: str = Field(description="`feedback`, or `chat` with `feedback` in it; anything else is no feedback.")
    runId: str = Field(  # noqa: N815 -- the wire's name
        description="The run or message that is judged, of any shape; 36 characters must be a UUID."
    )
    feedback: JsonObject | None = Field(
        default=None,
        description="The keys to change; others stay. `thumb`: up, down, or null to take it back. `comment`: a text, "
        "or null to take it back. Any other key is kept with its value.",
    )
    extra: JsonObject | None = Field(default=None, description="Older SDKs: merged after `feedback`, and wins.")
    timestamp: float | str | None = Field(
        default=None, description="When it happened: milliseconds since 1970, or a date that JavaScript reads."
    )
    userId: str | None = Field(default=None, description="The end user.")  # noqa: N815
    parentRunId: str | None = Field(default=None, description="The conversation.")  # noqa: N815
    appId: str | None = Field(  # noqa: N815
        default=None, description="A project of the presented key, or another key of it, that this event belongs to."
    )


class IngestRequest(BaseModel):
    """A batch as the SDKs send it."""

    events: list[LunaryEvent] | LunaryEvent


class EventResult(BaseModel):
    """What became of one event."""

    id: Any = Field(default=None, description="The event's runId as sent; missing if it had none.")
    success: bool
    error: str | None = Field(default=None, description="Why this event alone failed.")


class IngestResponse(BaseModel):
    """Results in the order of the events' timestamps."""

    results: list[EventResult]


class FeedbackPatch(BaseModel):
    """The keys to change; any other key is dropped."""

    thumb: Literal["up", "down"] | None = Field(default=None, description="null takes it back.")
    comment: str | None = Field(default=None, description="null takes it back.")
