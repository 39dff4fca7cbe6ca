"""Many values in a statement's own text: parameters travel in the URL, which has its bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_LONGEST_LIST = 60_000
"""Characters: ClickHouse takes statements of 256 KiB, and a list may stand in one twice."""


def quoted(text: str) -> str:
    """A string literal of ClickHouse."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0") + "'"


def pair(values: tuple[str, str]) -> str:
    return f"({quoted(values[0])}, {quoted(values[1])})"


def lists(items: Iterable[T], literal: Callable[[T], str]) -> Iterator[str]:
    """The literals of all ``items``, separated by commas, in as many pieces as statements can take."""
    piece: list[str] = []
    length = 0
    for item in items:
        text = literal(item)
        if piece and length + len(text) > _LONGEST_LIST:
            yield ", ".join(piece)
            piece, length = [], 0
        piece.append(text)
        length += len(text) + 2
    if piece:
        yield ", ".join(piece)
