"""Feedback as Lunary's SDKs send it: patches among runs and chats, in batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from random import Random
from typing import Any

from services.loadgen import words
from services.loadgen.langwatch_acts import to_json

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_YEAR = 250_000_000_000_000_000
"""Microseconds; Python cannot write much later times in ISO 8601."""

Patch = dict[str, Any]


class Style(Enum):
    """Who sends: the two SDKs, or somebody with curl and snake_case."""

    JAVASCRIPT = "lunary-js"
    PYTHON = "lunary-py"
    CURL = "curl"


@dataclass(frozen=True, slots=True)
class Act:
    """One patch of the feedback of one run. ``told``: microseconds, or None."""

    run_id: str
    style: Style
    told: int | None
    patch: Patch
    extra: Patch | None = None
    chat: bool = False
    user: str | None = None
    thread: str | None = None


def style_of(number: int) -> Style:
    """A run is judged from one client, so that a correction tells the time as the first version did."""
    return (Style.JAVASCRIPT, Style.PYTHON, Style.JAVASCRIPT, Style.CURL)[number % 4]


def new_act(random: Random, run_id: str, style: Style, told: int | None) -> Act:
    """Thumbs and comments mostly; else what teams put beside them."""
    chat = style is not Style.CURL and random.random() < 0.1
    return Act(
        run_id.upper() if _is_uuid(run_id) and random.random() < 0.05 else run_id,
        style,
        told,
        _PATCHES[int(random.random() * len(_PATCHES))](random),
        {"source_page": "/chat", "thumb": _thumb(random)} if not chat and random.random() < 0.02 else None,
        chat=chat,
        user=f"user-{int(random.random() * 500)}" if random.random() < 0.2 else None,
        thread=f"99999999-0000-4000-8000-{int(random.random() * 500):012x}" if random.random() < 0.1 else None,
    )


def undo(random: Random, run_id: str, style: Style, told: int | None) -> Act:
    patch: Patch = {"thumb": None}
    if random.random() < 0.3:
        patch = {"comment": None} if random.random() < 0.5 else {"thumb": None, "comment": None}
    return Act(run_id, style, told, patch)


def correct(random: Random, act: Act) -> Act | None:
    """Other values for the same keys at the same time; None where the act has no time."""
    if act.told is None:
        return None
    return replace(act, patch={name: _other_value(random, name, value) for name, value in act.patch.items()})


def render(act: Act) -> bytes:
    """The event's JSON, as its client writes it."""
    if act.style is Style.PYTHON:
        return to_json(_python_event(act), javascript=False)
    return to_json(_javascript_event(act) if act.style is Style.JAVASCRIPT else _curl_event(act), javascript=True)


def not_feedback(random: Random, run_id: str, told: int) -> bytes:
    """What else an SDK sends to this URL: runs with their prompts, chats, and feedback that says nothing."""
    draw = random.random()
    if draw < 0.06:
        event: Patch = {"event": "feedback", "runId": run_id, "timestamp": told // 1000, "overwrite": False}
        if draw < 0.04:
            event["feedback"] = None if draw < 0.02 else {}
        return to_json(event, javascript=True)
    if draw < 0.2:
        message = {"role": "user", "content": words.comment(random), "id": run_id}
        event = {"event": "chat", "type": "thread", "runId": run_id, "timestamp": told // 1000, "message": message}
        return to_json(event, javascript=True)
    text = [{"role": "user", "content": words.prompt(random)}]
    name = "start" if draw < 0.6 else "end"
    event = {"event": name, "type": "llm", "runId": run_id, "timestamp": told // 1000, "runtime": "lunary-js"}
    event |= {"input": text, "params": {"temperature": 0.7}} if name == "start" else {"output": text}
    return to_json(event, javascript=True)


def _python_event(act: Act) -> Patch:
    nothing = dict.fromkeys(("input", "output", "error"))
    return {
        "event": "chat" if act.chat else "feedback",
        "type": "thread" if act.chat else None,
        "name": None,
        "userId": act.user,
        "userProps": None,
        "tags": None,
        "threadTags": None,
        "runId": act.run_id,
        "parentRunId": act.thread,
        "timestamp": None if act.told is None else _iso(act.told, "+00:00", "microseconds"),
        "message": {"role": "assistant", "content": "x", "id": act.run_id} if act.chat else None,
        **nothing,
        "feedback": act.patch,
        **({"extra": act.extra} if act.extra else {}),
        "runtime": "lunary-py",
        "tokensUsage": None,
        "metadata": None,
        "params": None,
        "templateId": None,
        "appId": None,
        "threadMetadata": None,
    }


def _javascript_event(act: Act) -> Patch:
    event: Patch = {"event": "chat" if act.chat else "feedback", "type": "thread" if act.chat else None}
    if act.told is not None:
        event["timestamp"] = act.told // 1000
    event |= {"runtime": "lunary-js", "runId": act.run_id, "overwrite": False, "feedback": act.patch}
    if act.chat:
        event["message"] = {"role": "assistant", "content": "x", "id": act.run_id, "feedback": act.patch}
    optional = {"userId": act.user, "parentRunId": act.thread, "extra": act.extra}
    return event | {name: value for name, value in optional.items() if value is not None}


def _curl_event(act: Act) -> Patch:
    event: Patch = {"event": "feedback", "run_id": act.run_id, "feedback": act.patch}
    if act.told is not None:
        event["timestamp"] = _iso(act.told, "Z", "milliseconds")
    optional = {"user_id": act.user, "parent-run-id": act.thread, "extra": act.extra}
    return event | {name: value for name, value in optional.items() if value is not None}


def _iso(told: int, offset: str, timespec: str) -> str:
    moment = _EPOCH + timedelta(microseconds=min(told, _LAST_YEAR))
    return moment.replace(tzinfo=None).isoformat(timespec=timespec) + offset


def _thumb(random: Random) -> str:
    return "up" if random.random() < 0.65 else "down"


def _other_value(random: Random, name: str, value: Any) -> Any:
    if name == "thumb":
        return None if random.random() < 0.3 else _thumb(random)
    if name == "comment":
        return None if random.random() < 0.3 else words.comment(random)
    return "corrected" if isinstance(value, str) else int(random.random() * 6)


def _rating(random: Random) -> Patch:
    return {"my_rating": int(random.random() * 6), "is-good": random.random() < 0.5, "UPPER_CASE": 0}


def _anything(random: Random) -> Patch:
    return {
        "thumb": "sideways",
        "tags": ["a", "b_c"],
        "nested_value": {"inner_key": 1, "_lead": [{"dunder__k": None}]},
        "note": words.comment(random),
        "nothing": None,
    }


_PATCHES: tuple[Callable[[Random], Patch], ...] = (
    lambda random: {"thumb": _thumb(random)},
    lambda random: {"thumb": _thumb(random)},
    lambda random: {"thumb": _thumb(random)},
    lambda random: {"comment": words.comment(random)},
    lambda random: {"comment": words.comment(random)},
    lambda random: {"thumb": _thumb(random), "comment": words.comment(random)},
    _rating,
    lambda random: _anything(random) if random.random() < 0.3 else {"score": random.random() - 0.5},
)


def _is_uuid(run_id: str) -> bool:
    return len(run_id) == 36
