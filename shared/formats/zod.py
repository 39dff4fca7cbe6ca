"""LangWatch's refusals, word for word.

Its server checks in two passes: every event against a schema of zod 3, whose errors zod-validation-error words;
an event of a predefined type also against a union of three schemas of zod 4, all of whose branches' errors are told.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_MOST_ISSUES = 99
_PREFIX = "Validation error: "
# Not anchored, as in zod-validation-error: one identifier character anywhere in a name is enough.
_IDENTIFIER = re.compile(r"[$_]|[^\W\d]")
_ARRAY_INDEX = re.compile(r"0|[1-9]\d{0,9}", re.ASCII)
_LARGEST_ARRAY_INDEX = 2**32 - 2

Metrics = Mapping[str, float]
Details = Mapping[str, str | None]


def base_sentence(value: Any) -> str:
    """Why the base schema refuses ``value``, a decoded JSON value that it does refuse."""
    if not isinstance(value, dict):
        # The schema is an intersection of two objects, and each says it.
        complaint = f"Expected object, received {_type_name(value)}"
        return f"{_PREFIX}{complaint}; {complaint}"
    issues = [
        *_string(value, "event_type", required=True),
        *_record(value, "metrics", "number", required=True),
        *_string(value, "trace_id", required=True),
        *_string(value, "event_id", required=False),
        *_record(value, "event_details", "string", required=False),
        *_number(value, "timestamp"),
    ]
    return _PREFIX + "; ".join(issues[:_MOST_ISSUES])


def _string(value: dict[str, Any], name: str, *, required: bool) -> list[str]:
    if name not in value:
        return [f'Required at "{name}"'] if required else []
    got = _type_name(value[name])
    return [] if got == "string" else [f'Expected string, received {got} at "{name}"']


def _number(value: dict[str, Any], name: str) -> list[str]:
    got = _type_name(value.get(name, 0))
    return [] if got == "number" else [f'Expected number, received {got} at "{name}"']


def _record(value: dict[str, Any], name: str, of: str, *, required: bool) -> list[str]:
    if name not in value:
        return [f'Required at "{name}"'] if required else []
    record = value[name]
    got = _type_name(record)
    if got != "object":
        return [f'Expected object, received {got} at "{name}"']
    issues = []
    for key in _in_javascript_order(record):
        got = _type_name(record[key])
        if got != of and not (of == "string" and got == "null"):
            issues.append(f'Expected {of}, received {got} at "{_path(name, key)}"')
    return issues


def _in_javascript_order(record: dict[str, Any]) -> list[str]:
    """JavaScript lists keys that are array indexes first, by number, whatever order they came in."""
    indexes = [key for key in record if _ARRAY_INDEX.fullmatch(key) and int(key) <= _LARGEST_ARRAY_INDEX]
    known = set(indexes)
    return sorted(indexes, key=int) + [key for key in record if key not in known]


def _path(name: str, key: str) -> str:
    if '"' in key:
        escaped = key.replace('"', '\\"')
        return f'{name}["{escaped}"]'
    if not _IDENTIFIER.search(key):
        return f'{name}["{key}"]'
    return f"{name}.{key}"


def _type_name(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case int() | float():
            return "number"
        case list():
            return "array"
        case _:
            return "object"


@dataclass(frozen=True, slots=True)
class _Branch:
    """One of the three predefined schemas: its type, its metric and the metric's bounds.

    certain: values within need no second look.
    """

    event_type: str
    metric: str
    too_small: Callable[[float], str | None]
    maximum: float | None
    certain: tuple[float, float]
    text_detail: str | None = None

    def takes(self, metrics: Metrics, details: Details) -> bool:
        """Of an event of this type."""
        low, high = self.certain
        if low <= metrics.get(self.metric, math.nan) <= high and (self.text_detail is None or not details):
            return True
        return not self.issues(self.event_type, metrics, details)

    def issues(self, event_type: str, metrics: Metrics, details: Details) -> list[str]:
        found = []
        if event_type != self.event_type:
            found.append(f'Invalid input: expected "{self.event_type}" at "event_type"')
        if complaint := self._metric_issue(metrics):
            found.append(f'{complaint} at "metrics.{self.metric}"')
        if self.text_detail and self.text_detail in details and details[self.text_detail] is None:
            found.append(f'Invalid input: expected string, received null at "event_details.{self.text_detail}"')
        return found

    def _metric_issue(self, metrics: Metrics) -> str | None:
        if self.metric not in metrics:
            return "Invalid input: expected number, received undefined"
        value = metrics[self.metric]
        if not math.isfinite(value):
            return "Invalid input: expected number, received number"
        if self.maximum is not None and value > self.maximum:
            return f"Too big: expected number to be <={self.maximum:g}"
        return self.too_small(value)


def _at_least(minimum: int) -> Callable[[float], str | None]:
    return lambda value: f"Too small: expected number to be >={minimum}" if value < minimum else None


def _above_zero(value: float) -> str | None:
    return None if value > 0 else "Too small: expected number to be >0"


_BRANCHES = (
    _Branch("thumbs_up_down", "vote", _at_least(-1), 1, (-1, 1)),
    _Branch("selected_text", "text_length", _above_zero, None, (1e-9, 1e9), text_detail="selected_text"),
    _Branch("waited_to_finish", "finished", _at_least(0), 1, (0, 1)),
)


def predefined_sentence(event_type: str, metrics: Metrics, details: Details) -> str:
    """Why no predefined schema takes an event of a predefined type: the errors of all three, as the vendor tells."""
    issues = [issue for branch in _BRANCHES for issue in branch.issues(event_type, metrics, details)]
    return _PREFIX + "; ".join(issues)


PREDEFINED: Mapping[str, Callable[[Metrics, Details], bool]] = {branch.event_type: branch.takes for branch in _BRANCHES}
"""By event type: whether its own schema takes metrics and details that the base schema took."""
