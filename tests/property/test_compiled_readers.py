"""The compiled readers of whole events give what the exact readers give, or leave the event to them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import InvalidEventError, MalformedJSONError
from shared.formats import langwatch, lunary
from shared.formats.nodejson import double

odd_texts = st.sampled_from(
    ['"x"', '""', '"\\u0041"', '"\\ud83d"', '"\\ud83d\\ude00"', '"\\q"', '"\t"', '"\xff"', '"é"', '"thumbs_up_down"']
)
odd_numbers = st.sampled_from(
    ["0", "-0", "1", "-1", "0.5", "1e999", "-1e999", "9" * 30, "9" * 400, "9007199254740993", "1e5", "01", "1.", "NaN"]
) | st.floats(allow_nan=False, allow_infinity=False).map(repr)
scalars = odd_texts | odd_numbers | st.sampled_from(["null", "true", "false"])
names = st.sampled_from(["vote", "feedback", "thumb", "comment", "a_b", "a-b", "__proto__", "\\u0061", "\xff"])
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
        | st.lists(st.tuples(names, inner), max_size=3).map(
            lambda items: "{" + ",".join(f'"{name}": {value}' for name, value in items) + "}"
        )
    ),
    max_leaves=6,
)


def texts_of(fields: list[str]) -> st.SearchStrategy[bytes]:
    """Objects with these fields among others, some twice, some in odd spellings; now and then cut or garbled."""
    spelled = st.sampled_from(fields) | st.sampled_from(fields).map(lambda name: name.replace("_", "\\u005f"))
    members = st.lists(st.tuples(spelled | names, values), max_size=8)
    whole = members.map(lambda items: "{" + ",".join(f'"{name}":{value}' for name, value in items) + "}")
    encoded = whole.map(lambda text: text.encode("latin-1") if "\xff" in text else text.encode())
    return encoded | st.tuples(encoded, st.integers(0, 200), st.binary(max_size=2)).map(
        lambda cut: cut[0][: cut[1]] + cut[2] + cut[0][cut[1] + 1 :]
    )


def outcome(read: Callable[[bytes], Any], body: bytes, fields: list[str]) -> Any:
    """What came of it; numbers as the doubles that they are taken for."""
    try:
        event = read(body)
    except (InvalidEventError, MalformedJSONError) as refusal:
        return type(refusal), str(refusal)
    return [doubles(getattr(event, name)) for name in fields]


def doubles(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: doubles(item) for name, item in value.items()}
    if isinstance(value, list):
        return [doubles(item) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        # NaN stands for an absent time, and equals nothing.
        return "NaN" if math.isnan(double(value)) else double(value)
    return value


LANGWATCH = list(langwatch.TrackEvent.model_fields)
LUNARY = list(lunary._Event.__struct_fields__)
likely = {"trace_id": '"t"', "event_type": '"c"', "metrics": '{"vote":1}'}


@settings(max_examples=500, deadline=None)
@given(texts_of(LANGWATCH))
def test_langwatch_events_are_read_alike(body: bytes) -> None:
    for text in (body, _with_members(body, likely)):
        assert outcome(langwatch._read, text, LANGWATCH) == outcome(langwatch.read_exactly, text, LANGWATCH)


@settings(max_examples=500, deadline=None)
@given(
    texts_of(["event", "runId", "timestamp", "feedback", "extra", "userId", "parentRunId", "appId", "tags", "run_id"])
)
def test_lunary_events_are_read_alike(body: bytes) -> None:
    for text in (body, _with_members(body, {"event": '"feedback"', "runId": '"r"'})):
        assert outcome(lunary._event, text, LUNARY) == outcome(lunary.event_exactly, text, LUNARY)


def test_the_compiled_readers_do_read_what_the_sdks_send() -> None:
    tracked = {"trace_id": "t", "event_type": "thumbs_up_down", "metrics": {"vote": 1}, "timestamp": 1_700_000_000_000}
    assert isinstance(langwatch._read(json.dumps(tracked).encode()), langwatch._Certain)
    patch = {"type": "llm", "event": "feedback", "runId": "r", "feedback": {"thumb": "up"}, "overwrite": False}
    assert isinstance(lunary._event(json.dumps(patch).encode()), lunary._Certain)


def _with_members(body: bytes, members: dict[str, str]) -> bytes:
    """The same object beginning with what makes it an event, so that most of them are."""
    head = ",".join(f'"{name}":{value}' for name, value in members.items()).encode()
    rest = body.removeprefix(b"{")
    return b"{" + head + (b"" if rest.startswith(b"}") else b",") + rest
