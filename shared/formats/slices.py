"""The exact bytes of each element of an array in a JSON text, as they were received.

The compiled reader cuts them while it checks the whole text. What it refuses though Node reads it (a byte order
mark, lone surrogate escapes) is checked in a copy of the same length without those, and cut by position.
"""

from __future__ import annotations

import re

import msgspec

from shared.errors import MalformedJSONError
from shared.formats.nodejson import REFUSALS, loads

_BOM = b"\xef\xbb\xbf"
_REPLACED = rb"\ufffd"
_ESCAPES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[dD][89a-fA-F][0-9a-fA-F]{2}|.)", re.DOTALL
)
"""A surrogate pair, a surrogate alone, or any other escape; told apart so that an escaped backslash hides nothing."""

_BLANK = re.compile(rb"[ \t\n\r]*")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET_OR_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_SCALAR = re.compile(rb"[^,\]}: \t\n\r]*")

_check = msgspec.json.Decoder(msgspec.Raw).decode
_cut_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def elements(array: bytes) -> list[bytes]:
    """The elements of a JSON array. Raises MalformedJSONError for what is no JSON or no array."""
    try:
        return [bytes(element) for element in _cut_array(array)]
    except REFUSALS:
        clean = checked(array)
    if clean[:1] != b"[":
        raise MalformedJSONError("not an array")
    original = array[len(array) - len(clean) :]
    return [original[start:end] for start, end in _element_spans(clean)]


def member(text: bytes, name: str) -> bytes | None:
    """The last member called ``name`` of a JSON object; None if the text is no object or has no such member.

    Raises MalformedJSONError for what is no JSON.
    """
    clean = checked(text)
    original = text[len(text) - len(clean) :]
    if clean[:1] != b"{":
        return None
    found: bytes | None = None
    position = _past_blank(clean, 1)
    while clean[position : position + 1] == b'"':
        key_end = _past_value(clean, position)
        start = _past_blank(clean, _past_blank(clean, key_end) + 1)
        end = _past_value(clean, start)
        if loads(clean[position:key_end]) == name:
            found = original[start:end]
        position = _past_blank(clean, _past_blank(clean, end) + 1)
    return found


def checked(text: bytes) -> bytes:
    """``text`` as the compiled reader takes it: of the same length but for leading blanks, with lone surrogate
    escapes replaced. Raises MalformedJSONError for what Node refuses too.
    """
    clean = text.removeprefix(_BOM).lstrip(b" \t\n\r")
    clean = _ESCAPES.sub(_without_lone_surrogate, clean)
    try:
        _check(clean)
    except REFUSALS as error:
        raise MalformedJSONError(str(error)) from error
    return clean


def _without_lone_surrogate(escape: re.Match[bytes]) -> bytes:
    found = escape[0]
    return _REPLACED if len(found) == len(_REPLACED) else found


def _element_spans(array: bytes) -> list[tuple[int, int]]:
    spans = []
    position = _past_blank(array, 1)
    while array[position : position + 1] != b"]":
        end = _past_value(array, position)
        spans.append((position, end))
        position = _past_blank(array, end)
        if array[position : position + 1] == b",":
            position = _past_blank(array, position + 1)
    return spans


def _past_value(text: bytes, position: int) -> int:
    """Where the value that begins at ``position`` ends. ``text`` is known to be JSON."""
    first = text[position : position + 1]
    if first == b'"':
        return _end(_STRING.match(text, position))
    if first not in (b"[", b"{"):
        return _end(_SCALAR.match(text, position))
    depth = 0
    for token in _BRACKET_OR_STRING.finditer(text, position):
        if token[0] in (b"[", b"{"):
            depth += 1
        elif token[0] in (b"]", b"}"):
            depth -= 1
            if not depth:
                return token.end()
    raise MalformedJSONError("unbalanced brackets")


def _past_blank(text: bytes, position: int) -> int:
    return _end(_BLANK.match(text, position))


def _end(match: re.Match[bytes] | None) -> int:
    if match is None:
        raise MalformedJSONError("not JSON")
    return match.end()
