from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import MalformedJSONError
from shared.formats.nodejson import loads
from shared.formats.slices import elements, member

_element_texts = st.one_of(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    ).map(lambda value: json.dumps(value, ensure_ascii=len(str(value)) % 2 == 0).encode("utf-8", "replace")),
    st.sampled_from(
        [b'"\\ud800"', b'"\xff"', b'"\\\\ud800"', b'{"a" : "]}" , "b":[ 1 ]}', b"1e999", b'"\\ud83d\\ude00"', b'"\\""']
    ),
)
_blank = st.sampled_from([b"", b" ", b"\n\t", b"\r\n  "])


@settings(max_examples=600, deadline=None)
@given(st.lists(_element_texts, max_size=6), _blank, _blank, st.sampled_from([b"", b"\xef\xbb\xbf", b" "]))
def test_elements_are_cut_out_byte_for_byte(texts: list[bytes], before: bytes, after: bytes, start: bytes) -> None:
    array = start + b"[" + b",".join(before + text + after for text in texts) + before + b"]" + after
    assert elements(array) == texts


@settings(max_examples=300, deadline=None)
@given(_element_texts, _element_texts, _blank)
def test_the_last_member_of_a_name_is_found(first: bytes, last: bytes, blank: bytes) -> None:
    text = b'\xef\xbb\xbf{"\\u0065vents"%b:%b%b,"x":{"events":0},"events":%b%b}' % (blank, blank, first, last, blank)
    assert member(text, "events") == last


@pytest.mark.parametrize(("text", "found"), [(b"{}", None), (b"[]", None), (b"5", None), (b'{"a":1}', None)])
def test_a_member_that_is_not_there_is_none(text: bytes, found: Any) -> None:
    assert member(text, "events") is found


@pytest.mark.parametrize("text", [b"[1,]", b"[1", b"[1 2]", b"[NaN]", b"{}", b"5", b'["\\x"]', b"[1]]"])
def test_what_is_no_array_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedJSONError):
        elements(text)


def test_deep_nesting_is_cut_without_recursion_or_refused() -> None:
    deep = b"[" * 600 + b"]" * 600
    assert elements(b"\xef\xbb\xbf[" + deep + b",1]") == [deep, b"1"]
    with pytest.raises(MalformedJSONError):
        elements(b"[" * 100_000 + b"]" * 100_000)
    with pytest.raises(MalformedJSONError):
        loads(deep)
