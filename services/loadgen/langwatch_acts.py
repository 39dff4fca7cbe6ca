"""Feedback as LangWatch's clients send it: one act a request."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

from services.loadgen import words

Act = dict[str, Any]
"""The request's JSON."""


def new_act(random: Random, trace_id: str, told: int | None) -> Act:
    """A vote in six of eight cases, else one of the predefined or custom events. ``told``: microseconds, or None."""
    act: Act = {"trace_id": trace_id, **_KINDS[int(random.random() * len(_KINDS))](random)}
    if told is not None:
        act["timestamp"] = told / 1000 if random.random() < 0.02 else told // 1000
    draw = random.random()
    if draw < 0.3:
        act["event_id"] = f"fb-{int(random.random() * 1e12)}"
    elif draw < 0.32:
        act["event_id"] = ""
    if random.random() < 0.2:
        act["user_id" if random.random() < 0.5 else "customer_id"] = f"user-{int(random.random() * 500)}"
    if random.random() < 0.1:
        act["thread_id"] = f"thread-{int(random.random() * 500)}"
        act["metadata"] = {"ignored": [1, 2.5, None]}
    return act


def undo(random: Random, trace_id: str, told: int | None) -> Act:
    """The vote is taken back; now and then the comment with it."""
    act: Act = {"trace_id": trace_id, "event_type": "thumbs_up_down", "metrics": {"vote": 0}}
    if random.random() < 0.2:
        act["event_details"] = {"feedback": ""}
    if told is not None:
        act["timestamp"] = told // 1000
    return act


def correct(random: Random, act: Act) -> Act | None:
    """The same identity with other content; None where nothing in the act identifies it."""
    has_id = bool(act.get("event_id"))
    if not has_id and "timestamp" not in act:
        return None
    corrected: Act = {**act, "metrics": dict(act["metrics"])}
    if act["event_type"] != "thumbs_up_down":
        corrected["metrics"]["corrected"] = int(random.random() * 100)
    else:
        corrected["metrics"]["vote"] = _vote(random)
        details = dict(act.get("event_details", {}))
        details["feedback"] = None if random.random() < 0.4 else words.comment(random)
        corrected["event_details"] = details
    if has_id and random.random() < 0.3:
        if "timestamp" in act and random.random() < 0.7:
            # Moved back in time by up to an hour: the identity is the id, so the event goes along.
            corrected["timestamp"] = max(0, int(act["timestamp"]) - int(random.random() * 3_600_000))
        else:
            corrected.pop("timestamp", None)
        if random.random() < 0.3:
            corrected.update(_selected(random))
    return corrected


def render(act: Act, random: Random) -> bytes:
    """As Python's json writes it, or as JavaScript's JSON.stringify."""
    return to_json(act, javascript=random.random() < 0.5)


def to_json(value: Any, *, javascript: bool) -> bytes:
    if not javascript:
        return json.dumps(value).encode()
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        # JSON.stringify escapes half a surrogate pair, since UTF-8 has no bytes for it.
        return json.dumps(value, separators=(",", ":")).encode()


def _vote(random: Random) -> float:
    draw = random.random()
    if draw < 0.55:
        return 1
    if draw < 0.85:
        return -1
    return 0 if draw < 0.92 else (int(random.random() * 2001) - 1000) / 1000


def _plain_vote(random: Random) -> Act:
    return {"event_type": "thumbs_up_down", "metrics": {"vote": _vote(random)}}


def _vote_with_details(random: Random) -> Act:
    draw = random.random()
    if draw < 0.1:
        details: dict[str, str | None] = {"feedback": None}
    elif draw < 0.2:
        details = {"reason": "other", "items.0.name": "x", "empty": None}
    else:
        details = {"feedback": words.HALF_A_PAIR if draw > 0.99 else words.comment(random)}
    return {**_plain_vote(random), "event_details": details}


def _selected(random: Random) -> Act:
    text = words.comment(random) or "a word"
    return {
        "event_type": "selected_text",
        "metrics": {"text_length": len(text)},
        "event_details": {"selected_text": text},
    }


def _waited(random: Random) -> Act:
    return {"event_type": "waited_to_finish", "metrics": {"finished": int(random.random() * 2)}}


def _custom(random: Random) -> Act:
    metrics = {"": 1e-9, "score": random.random() * 1e6, "zero": 0, "negative": -1.5}
    return {
        "event_type": "answer.copied" if random.random() < 0.5 else "оценка",
        "metrics": metrics if random.random() < 0.5 else {},
        "event_details": {"place": words.comment(random), "nothing": None},
    }


_KINDS: tuple[Callable[[Random], Act], ...] = (
    _plain_vote,
    _plain_vote,
    _plain_vote,
    _vote_with_details,
    _vote_with_details,
    _vote_with_details,
    lambda random: _waited(random) if random.random() < 0.5 else _selected(random),
    _custom,
)
