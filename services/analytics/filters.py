"""Which events a question is about: filters as conditions, their values apart as parameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .period import Period

LATEST_ROWS = "feedback_resolved FINAL"
"""One row an event. Its readers also say NOT gone."""


class VoteFilter(StrEnum):
    """What an event says of the vote: up (above 0), down (below 0), zero (taken back), none (nothing)."""

    UP = "up"
    DOWN = "down"
    ZERO = "zero"
    NONE = "none"


_VOTES = {
    VoteFilter.UP: "{column} > 0",
    VoteFilter.DOWN: "{column} < 0",
    VoteFilter.ZERO: "{column} = 0",
    VoteFilter.NONE: "{column} IS NULL",
}


@dataclass(frozen=True, slots=True)
class Filters:
    """``current``: only what holds now, one event a trace; vote, comment and search then mean the trace's own."""

    period: Period
    source: str | None = None
    event_type: str | None = None
    vote: VoteFilter | None = None
    has_comment: bool | None = None
    search: str | None = None
    user_id: str | None = None
    trace_id: str | None = None
    current: bool = False

    def condition(self, project: str) -> Condition:
        """Everything that a row of feedback_resolved must meet."""
        made = Condition()
        made.add("project_id = {project:String}", project=project)
        made.add("time >= fromUnixTimestamp64Micro({start:Int64}, 'UTC')", start=self.period.parameters["start"])
        made.add("time < fromUnixTimestamp64Micro({end:Int64}, 'UTC')", end=self.period.parameters["end"])
        made.add("NOT gone")
        for name in ("source", "event_type", "user_id", "trace_id"):
            if (value := getattr(self, name)) is not None:
                made.add(f"{name} = {{{name}:String}}", **{name: value})
        if self.current:
            made.add("is_current")
        vote, comment = ("current_vote", "current_comment") if self.current else ("vote", "comment")
        if self.vote is not None:
            made.add(_VOTES[self.vote].format(column=vote))
        if self.has_comment is not None:
            made.add(f"ifNull({comment}, '') {'!=' if self.has_comment else '='} ''")
        if self.search:
            made.add(f"positionCaseInsensitiveUTF8(ifNull({comment}, ''), {{search:String}}) > 0", search=self.search)
        return made


@dataclass(slots=True)
class Condition:
    """Conditions that all must hold, as SQL, and the values of their parameters."""

    parts: list[str] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)

    def add(self, part: str, **parameters: object) -> None:
        self.parts.append(part)
        self.parameters.update(parameters)

    @property
    def sql(self) -> str:
        return " AND ".join(self.parts)
