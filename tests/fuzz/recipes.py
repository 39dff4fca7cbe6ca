"""What a hostile or broken client might send: valid requests, bent in every way that was thought of.

A recipe is drawn by Hypothesis in few, small choices, so that ten thousand of them cost seconds; the bytes are
made of it by plain code.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

LANGWATCH_PATHS = ("/api/track_event", "/api/events/track")
LUNARY_PATHS = ("/v1/runs/ingest", "/api/report")

FRESH = "fresh-id"
"""Stands for an id that no other request has."""

_TRACKED: tuple[dict[str, Any], ...] = (
    {"trace_id": FRESH, "event_type": "thumbs_up_down", "metrics": {"vote": 1}, "event_details": {"feedback": "good"}},
    {"trace_id": FRESH, "event_type": "thumbs_up_down", "metrics": {"vote": -0.5}, "timestamp": 1617981376000},
    {"trace_id": "shared", "event_type": "thumbs_up_down", "metrics": {"vote": 0}, "event_id": "e-1"},
    {"trace_id": "shared", "event_type": "waited_to_finish", "metrics": {"finished": 1}, "timestamp": 1795316670092.5},
    {"trace_id": FRESH, "event_type": "selected_text", "metrics": {"text_length": 3}, "thread_id": "th"},
    {
        "trace_id": FRESH,
        "event_type": "my own",
        "metrics": {"a": 0, "b": 1e308},
        "event_details": {"x": None, "ü": "ß"},
    },
)
_RUNS: tuple[dict[str, Any], ...] = (
    {"event": "feedback", "type": None, "runId": FRESH, "timestamp": 1795316670092, "feedback": {"thumb": "up"}},
    {
        "event": "feedback",
        "run_id": FRESH,
        "timestamp": "2026-11-22T03:01:55.355796+00:00",
        "feedback": {"thumb": None},
    },
    {
        "event": "feedback",
        "runId": FRESH,
        "feedback": {"comment": "schön 👍", "my_rating": 4.5},
        "extra": {"flag": True},
    },
    {"event": "chat", "type": "thread", "runId": FRESH, "parentRunId": "th", "feedback": {"thumb": "down"}},
    {"event": "start", "type": "llm", "runId": FRESH, "input": "a prompt with feedback in it", "timestamp": 1},
    {"event": "feedback", "runId": "shared", "timestamp": 1795316670092, "feedback": {"comment": ""}, "userId": "ann"},
)

# Written into JSON texts as they stand, since Python would not write them.
_BARE = {"@bare:1e999": "1e999", "@bare:-1e999": "-1e999", "@bare:NaN": "NaN", "@bare:long": "9" * 400}
_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 0.5, 2, -0.0, 1e308, 2**53 + 1, 10**30, -5, 4102444800000, 9e16, *_BARE),
    *("", "x", "\0", "\ud83d", "👎", "up", "null", "y" * 5000, "2026-11-22T03:01:55.355Z", "99e9", FRESH),
    *([], {}, [None], [[]], {"a_b": {"c-d": [1, {"e_f": None}]}}, {"__proto__": {"x": 1}}, {"thumb": "up"}),
)
_ODD_KEYS = (
    *("metrics", "event_details", "timestamp", "event_id", "trace_id", "feedback", "extra", "runId", "run_id", "event"),
    *(
        "user_id",
        "thread_id",
        "userId",
        "appId",
        "thumb",
        "comment",
        "vote",
        "__proto__",
        "",
        "a_b",
        "ü",
        "\ud83d",
        "\0",
    ),
)
_ODD_BYTES = (
    *(b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc0\xaf", b'"', b"\\", b"\\u0000", b"\\ud800", b"{", b"}"),
    *(b"[" * 300, b"]", b",", b":", b" ", b"\n", b"NaN", b"-", b"1e999", b"/**/", b"\xe2\x80\xa8", b'"a":1,', b"null"),
)


class Change(NamedTuple):
    """One bend. kind: what is done. where: chooses the place, modulo how many there are. what: chooses the thing."""

    kind: str
    where: int
    what: int


class Recipe(NamedTuple):
    """One request before it is written. events: which of the valid ones it is made of. wire: how it is framed."""

    lunary: bool
    path: int
    events: tuple[int, ...]
    values: tuple[Change, ...]
    spelling: int
    cuts: tuple[Change, ...]
    encoding: str
    credentials: str
    headers: int
    wire: str
    chunk: int


class Request(NamedTuple):
    """What is sent. ``body``: before compression, as the door should come to see it, where it decompresses."""

    lunary: bool
    path: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    payload: bytes
    wire: str
    chunk: int


_VALUE_KINDS = ("replace", "replace", "remove", "add", "wrap", "repeat")
_CUT_KINDS = ("insert", "delete", "overwrite", "truncate", "prefix")
_ENCODINGS = ("",) * 16 + ("gzip", "deflate", "raw-deflate", "identity", "gzip-cut", "gzip-said", "br", "gzip, gzip")
_CREDENTIALS = ("good",) * 20 + ("other-vendors", "none", "wrong", "read", "basic", "both", "broken")
_WIRES = (
    ("plain",) * 10
    + ("chunked", "pipelined") * 2
    + ("chunked", "chunked", "slowly", "expect", "pipelined", "short", "nonsense", "smuggled")
)
_HEADERS: tuple[tuple[tuple[bytes, bytes], ...], ...] = (
    ((b"Content-Type", b"application/json"),),
    ((b"content-type", b"text/plain;charset=UTF-8"), (b"Origin", b"https://shop.example")),
    (),
    ((b"CONTENT-TYPE", b"multipart/form-data; boundary=x"), (b"X-Project-Id", b"elsewhere")),
    ((b"Content-Type", b"\xff\xfe"), (b"Cookie", b"a=" + b"b" * 4000), (b"X-Odd", b"")),
    ((b"Content-Type", b"application/json"), (b"Origin", b"null"), (b"Accept-Encoding", b"\xc3\xbc")),
    ((b"Content-Type", b"application/json; charset=utf-16"), (b"X-Forwarded-For", b"::1"), (b"TE", b"trailers")),
)

_places = st.integers(0, 200)


def _changes(kinds: Sequence[str], *, mostly: int) -> st.SearchStrategy[tuple[Change, ...]]:
    """None, one or two. ``mostly``: how often none for once that there are some."""
    change = st.builds(Change, st.sampled_from(kinds), _places, _places)
    some = (st.tuples(change), st.tuples(change, change))
    return st.sampled_from([st.just(()), *[st.just(())] * (2 * mostly - 1), *some]).flatmap(lambda chosen: chosen)


recipes: st.SearchStrategy[Recipe] = st.builds(
    Recipe,
    st.booleans(),
    st.sampled_from([0, 0, 0, 1]),
    st.one_of(st.tuples(_places), st.tuples(_places, _places), st.tuples(_places, _places, _places)),
    _changes(_VALUE_KINDS, mostly=1),
    st.integers(0, 3),
    _changes(_CUT_KINDS, mostly=3),
    st.sampled_from(_ENCODINGS),
    st.sampled_from(_CREDENTIALS),
    st.integers(0, len(_HEADERS) - 1),
    st.sampled_from(_WIRES),
    st.sampled_from([1, 7, 100, 4096]),
)


class Keys(NamedTuple):
    langwatch: str
    lunary_public: str
    read: str


def write(recipe: Recipe, keys: Keys, fresh: str) -> Request:
    """The bytes of a recipe. ``fresh``: the id that this request alone has."""
    path = (LUNARY_PATHS if recipe.lunary else LANGWATCH_PATHS)[recipe.path]
    body = _cut(_spelled(_bent(_value(recipe, keys, path), recipe.values), recipe.spelling), recipe.cuts)
    body = body.replace(FRESH.encode(), fresh.encode())
    payload, encoding = _encoded(body, recipe.encoding)
    headers = [*_HEADERS[recipe.headers], *_credentials(recipe, keys)]
    if encoding:
        headers.append((b"Content-Encoding", encoding))
    return Request(recipe.lunary, path, tuple(headers), body, payload, recipe.wire, recipe.chunk)


def _value(recipe: Recipe, keys: Keys, path: str) -> Any:
    if not recipe.lunary:
        return _TRACKED[recipe.events[0] % len(_TRACKED)]
    events = [dict(_RUNS[number % len(_RUNS)]) for number in recipe.events]
    for place, event in enumerate(events):
        for name in ("runId", "run_id"):
            if event.get(name) == FRESH:
                event[name] = f"{FRESH}-{place}"
    if path == "/api/report" and recipe.credentials == "good":
        events[0]["projectId"] = keys.lunary_public
    return {"events": events[0] if recipe.chunk == 7 else events}


def _bent(value: Any, changes: tuple[Change, ...]) -> Any:
    for change in changes:
        value = _with_change(value, change)
    return value


def _with_change(value: Any, change: Change) -> Any:
    """The value with one of its parts changed; parts are counted in depth-first order."""
    paths = list(_paths(value))
    return _changed(value, paths[change.where % len(paths)], _BENDS[change.kind], change.what)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Any:
    yield path
    for key in _keys(value):
        yield from _paths(value[key], (*path, key))


def _keys(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value)
    return list(range(len(value))) if isinstance(value, list) else []


_Bend = Callable[[Any, int], Any]
_GONE = object()


def _changed(value: Any, path: tuple[Any, ...], bend: _Bend, what: int) -> Any:
    if not path:
        bent = bend(value, what)
        return None if bent is _GONE else bent
    inner = value[path[0]]
    bent = bend(inner, what) if len(path) == 1 else _changed(inner, path[1:], bend, what)
    if isinstance(value, dict):
        return {
            key: bent if key == path[0] else item for key, item in value.items() if key != path[0] or bent is not _GONE
        }
    return [bent if at == path[0] else item for at, item in enumerate(value) if at != path[0] or bent is not _GONE]


def _added(value: Any, what: int) -> Any:
    if isinstance(value, dict):
        return value | {_ODD_KEYS[what % len(_ODD_KEYS)]: _ODD[what * 7 % len(_ODD)]}
    return [*value, _ODD[what % len(_ODD)]] if isinstance(value, list) else value


_BENDS: dict[str, _Bend] = {
    "replace": lambda _value, what: _ODD[what % len(_ODD)],
    "remove": lambda _value, _what: _GONE,
    "add": _added,
    "wrap": lambda value, _what: [value],
    "repeat": lambda value, _what: [*value, *value] if isinstance(value, list) else value,
}


def _spelled(value: Any, spelling: int) -> bytes:
    """The JSON of a value in one of the ways in which clients write it."""
    ways: list[dict[str, Any]] = [
        {"separators": (",", ":")},
        {"ensure_ascii": False, "separators": (",", ":")},
        {"indent": 1},
        {"ensure_ascii": False, "separators": (" , ", " : ")},
    ]
    text = json.dumps(value, **ways[spelling])
    for name, bare in _BARE.items():
        text = text.replace(f'"{name}"', bare)
    return text.encode("utf-8", "surrogatepass")


def _cut(body: bytes, cuts: tuple[Change, ...]) -> bytes:
    for cut in cuts:
        at = cut.where * (len(body) + 1) // 201
        odd = _ODD_BYTES[cut.what % len(_ODD_BYTES)]
        match cut.kind:
            case "insert":
                body = body[:at] + odd + body[at:]
            case "delete":
                body = body[:at] + body[at + 1 + cut.what % 9 :]
            case "overwrite":
                body = body[:at] + odd + body[at + len(odd) :]
            case "truncate":
                body = body[:at]
            case "prefix":
                body = (b"\xef\xbb\xbf", b" \n\t", odd)[cut.what % 3] + body
    return body


_PACKED: dict[str, tuple[Callable[[bytes], bytes], bytes]] = {
    "gzip": (lambda body: gzip.compress(body, 1), b"gzip"),
    "deflate": (lambda body: zlib.compress(body, 1), b"deflate"),
    "raw-deflate": (lambda body: zlib.compress(body, 1)[2:-4], b"Deflate"),
    "gzip-cut": (lambda body: gzip.compress(body, 1)[:-9], b"gzip"),
    "gzip-said": (bytes, b"gzip"),
}


def _encoded(body: bytes, encoding: str) -> tuple[bytes, bytes]:
    """The body as it goes over the wire, and the name of its encoding."""
    pack, name = _PACKED.get(encoding, (bytes, encoding.encode()))
    return pack(body), name


def _credentials(recipe: Recipe, keys: Keys) -> list[tuple[bytes, bytes]]:
    own, other = (keys.lunary_public, keys.langwatch) if recipe.lunary else (keys.langwatch, keys.lunary_public)
    second = b"X-API-Key" if recipe.lunary else b"X-Auth-Token"
    in_second = (second, own.encode())
    presented: dict[str, list[tuple[bytes, bytes]]] = {
        "good": [in_second if recipe.chunk % 2 else (b"Authorization", b"Bearer " + own.encode())],
        "other-vendors": [(b"Authorization", b"Bearer " + other.encode())],
        "read": [(b"Authorization", b"Bearer " + keys.read.encode())],
        "wrong": [(b"Authorization", b"Bearer wrong-\xff"), in_second],
        "basic": [(b"Authorization", b"Basic !!"), in_second],
        "both": [(b"Authorization", b"bearer " + own.encode()), (second, b"nothing")],
        "broken": [(b"Authorization", b"Bearer"), (b"Authorization", own.encode())],
        "none": [],
    }
    return presented[recipe.credentials]
