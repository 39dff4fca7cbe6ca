from __future__ import annotations

import json
import math
import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.errors import MalformedJSONError
from shared.formats import nodejson
from shared.formats.nodejson import MAX_DEPTH, compact, double, loads

_PIECES = [
    *'{}[]:,"\\/ \t\n\r\x0b\x00\x1f\x7f\xa0\ufeff0123456789-+.eE',
    *["true", "false", "null", "NaN", "Infinity", "-Infinity", "undefined", "//", "/*", "'"],
    *["\\u0041", "\\ud83d", "\\ude00", "\\ud83d\\ude00", "\\n", "\\x", "\\u12", "\\\\", '\\"'],
    *["1e999", "-1e999", "1e-999", "-0", "01", "1.", ".5", "1e", "9007199254740993", "1" * 400],
    *['"a"', '"é"', '"日本"', '"__proto__"', "[1,2]", '{"a":1}', '{"a":1,"a":2}', '{"b":[]}', "{}", "[]"],
]
_BAD_BYTES = st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f", b"\xef\xbb\xbf", b"\xc0\xaf"])
_TEXTS = st.lists(st.sampled_from(_PIECES).map(str.encode) | _BAD_BYTES, max_size=12).map(b"".join)

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def _nearly_json(draw: st.DrawFn) -> bytes:
    """JSON texts with a piece put in, or taken out, anywhere."""
    text = json.dumps(draw(_values), ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    at = draw(st.integers(0, len(text)))
    return text[:at] + draw(_TEXTS) + text[at + draw(st.integers(0, 2)) :]


def _outcome(read: Any, text: bytes) -> Any:
    try:
        return ("value", _plain(read(text)))
    except MalformedJSONError:
        return ("refused",)


def _plain(value: Any) -> Any:
    """A value in a form that can be compared: numbers as the doubles they are."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return ("number", double(value))
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()}


@settings(max_examples=2000, deadline=None)
@given(_TEXTS | _nearly_json())
@example(b'{"a":1e999,"b":[-1e999]}')
@example(b'"\\ud800"')
@example(b'"\xff"')
@example(b"1" * 400)
def test_the_compiled_reader_and_the_exact_one_agree_on_every_text(text: bytes) -> None:
    assert _outcome(loads, text) == _outcome(nodejson._read_exactly, text)


_NODE = shutil.which("node")

_ASK_NODE = """
const texts = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const decoder = new TextDecoder();
const plain = v => v === null || typeof v === 'boolean' ? v
  : typeof v === 'string' ? v.toWellFormed()
  : typeof v === 'number' ? {number: Number.isFinite(v) ? v : String(v)}
  : Array.isArray(v) ? {list: v.map(plain)}
  : {object: Object.entries(v).map(([k, x]) => [k.toWellFormed(), plain(x)])};
console.log(JSON.stringify(texts.map(t => {
  try { return plain(JSON.parse(decoder.decode(Buffer.from(t, 'latin1')))); } catch { return 'refused'; }
})));
"""


def _as_node_says(answer: Any) -> Any:
    if isinstance(answer, dict):
        if "number" in answer:
            return ("number", float(answer["number"]))
        if "list" in answer:
            return [_as_node_says(item) for item in answer["list"]]
        return {key: _as_node_says(item) for key, item in answer["object"]}
    return answer


@pytest.mark.skipif(_NODE is None, reason="needs node on PATH, the judge of what JSON is here")
def test_texts_are_read_as_node_reads_them() -> None:
    texts: list[bytes] = []

    @settings(max_examples=3000, deadline=None, database=None, derandomize=True)
    @given(_TEXTS | _nearly_json())
    def collect(text: bytes) -> None:
        texts.append(text)

    collect()
    asked = json.dumps([text.decode("latin-1") for text in texts]).encode()
    answered = subprocess.run([_NODE or "", "-e", _ASK_NODE], input=asked, capture_output=True, check=True)
    for text, answer in zip(texts, json.loads(answered.stdout), strict=True):
        ours = _outcome(loads, text)
        expected = ("refused",) if answer == "refused" else ("value", _as_node_says(answer))
        assert ours == expected, text


@pytest.mark.parametrize("text", [b"NaN", b"[1,]", b'{"a":1,}', b"// x\n1", b'"\x01"', b"", b"1 2", b"'a'", b"+1"])
def test_what_node_refuses_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedJSONError):
        loads(text)


def test_a_text_nests_to_the_limit_and_no_further() -> None:
    assert loads(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    assert loads(b"\xef\xbb\xbf" + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    for depth in (MAX_DEPTH + 1, 900, 100_000):
        for prefix in (b"", b"\xef\xbb\xbf"):
            with pytest.raises(MalformedJSONError, match="nested deeper"):
                loads(prefix + b"[" * depth + b"]" * depth)


def test_many_brackets_side_by_side_or_in_strings_are_no_depth() -> None:
    assert len(loads(b"[" + b",".join([b"{}"] * 1000) + b"]")) == 1000
    assert loads(b'"' + b"[{" * 1000 + b'\\""') == "[{" * 1000 + '"'


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (1.0, "1"),
        (-0.0, "0"),
        (0.5, "0.5"),
        (1e300, "1e300"),
        (2**53 + 1, "9007199254740992"),
        (math.inf, "null"),
        (10**400, "null"),
        (True, "true"),
        ({"a": [1.0, {"b": None}], "é": "ü"}, '{"a":[1,{"b":null}],"é":"ü"}'),
    ],
)
def test_values_are_written_as_javascript_would(value: Any, written: str) -> None:
    assert compact(value) == written
