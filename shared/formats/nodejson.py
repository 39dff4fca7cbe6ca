"""JSON as Node's ``JSON.parse`` reads it, since both vendors' servers are written for it.

Read: a byte order mark, invalid UTF-8 (as U+FFFD), lone surrogate escapes (readers see U+FFFD), duplicate keys
(the last wins), numbers of any length (all are doubles; 1e999 is infinite). Refused: NaN, Infinity, trailing
commas, comments, control characters in strings.

The compiled reader (msgspec) is strict about all that Node refuses, and refuses some of what Node takes. So what it
reads stands, and what it refuses is read again by the exact reader below. A property test holds the two together.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

import msgspec

from shared.errors import MalformedJSONError

MAX_DEPTH = 250
"""Arrays and objects inside one another. Real feedback has three; Python's own stack ends near 1,000."""

_TOKENS_OF_DEPTH = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_SAFE_INTEGER_DIGITS = 15

_read_fast = msgspec.json.Decoder().decode
REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What the compiled reader raises for a text that it does not read."""


def loads(text: bytes) -> Any:
    """The value of a JSON text.

    Numbers come as int or float, integers of any size included: take them through ``double``, as Node does.
    Raises MalformedJSONError for what Node refuses and for what nests deeper than MAX_DEPTH.
    """
    try:
        value = _read_fast(text)
    except REFUSALS:
        return _read_exactly(text)
    check_depth(text)
    return value


def check_depth(text: bytes) -> None:
    """Raises MalformedJSONError if ``text`` nests deeper than MAX_DEPTH."""
    # Quick answers for nearly all: a level takes two brackets.
    if len(text) <= 2 * MAX_DEPTH or text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for token in _TOKENS_OF_DEPTH.finditer(text):
        match token[0]:
            case b"[" | b"{":
                depth += 1
                if depth > MAX_DEPTH:
                    raise MalformedJSONError(f"nested deeper than {MAX_DEPTH} levels")
            case b"]" | b"}":
                depth -= 1


def _read_exactly(text: bytes) -> Any:
    check_depth(text)
    decoded = text.decode("utf-8", "replace").removeprefix("\ufeff")
    try:
        value = _exact.decode(decoded)
    except (ValueError, RecursionError) as error:
        raise MalformedJSONError(_reason(error)) from error
    return _without_surrogates(value) if _SURROGATE_ESCAPE.search(decoded) else value


def _reason(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _SAFE_INTEGER_DIGITS else float(digits)


_exact = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_integer)


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value


def double(number: float) -> float:
    """A number of a JSON text as the double that JavaScript makes of it."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def compact(value: Any) -> str:
    """The JSON of a value that ``loads`` gave, as ``JSON.stringify`` would write it: no spaces, whole doubles
    without a fraction, infinite ones as null.
    """
    return msgspec.json.encode(_as_stringified(value)).decode()


def _as_stringified(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return number_as_sent(double(value))
    if isinstance(value, list):
        return [_as_stringified(item) for item in value]
    if isinstance(value, dict):
        return {key: _as_stringified(item) for key, item in value.items()}
    return value


def number_as_sent(number: float) -> int | float | None:
    """A double in the form in which JavaScript writes it: whole numbers as integers, infinite ones as null."""
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 1e21 else number
