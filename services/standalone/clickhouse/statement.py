"""Cutting a request's text into what the engine needs: statement, output format, and the data of an INSERT."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from services.standalone.clickhouse.errors import SYNTAX_ERROR, ClickHouseError
from services.standalone.clickhouse.guard import REFUSED_CALLS, REFUSED_NAMES, Token, check_statement

# ClickHouse's own default of max_query_size: no statement may be longer, the data of an INSERT not counted.
MAX_STATEMENT: Final = 262_144
_OPENING: Final = frozenset({"OpeningRoundBracket", "OpeningSquareBracket", "OpeningCurlyBrace"})
_CLOSING: Final = frozenset({"ClosingRoundBracket", "ClosingSquareBracket", "ClosingCurlyBrace"})
# As ParserInsertQuery: blanks, one line break; what follows belongs to the format.
_BEFORE_DATA: Final = re.compile(rb"[ \t\f]*;?[ \t\f]*(?:\r?\n)?")
_INSERT: Final = re.compile(
    rb"(?:\s|--[^\n]*\n|#[ !][^\n]*\n|//[^\n]*\n|/\*.*?\*/)*insert\b", re.IGNORECASE | re.DOTALL
)
# VALUES may hold expressions, so its data is judged, but only where a name in it could matter.
_VALUES_SUSPECT: Final = re.compile(
    # NULL is in most data; as a table function it has a bracket, perhaps behind a comment.
    "|".join([*(REFUSED_NAMES | REFUSED_CALLS) - {"null"}, r"null\s*[(/#-]", "format", "`", r'"[^"]*\\']).encode(),
    re.IGNORECASE,
)

Tokenizer = Callable[[bytes], Sequence[Token]]


@dataclass(frozen=True, slots=True)
class Statement:
    """What one request asks of the engine, already judged by the guard.

    Attributes:
        sql: The statement; of an INSERT with data, without SETTINGS, FORMAT and data.
        settings: The SETTINGS clause of an INSERT with data; it comes behind where the data comes from.
        output_format: What the FORMAT clause says, or None.
        data_format: The format of ``data``, or None where the statement carries none.
        data: The data of an INSERT, in parts that are one after another.
        changes_session: SET or USE.

    """

    sql: bytes
    output_format: str | None = None
    data_format: str | None = None
    data: tuple[bytes | memoryview, ...] = ()
    changes_session: bool = False
    settings: bytes = b""


def parse(query: bytes, body: bytes, tokenize: Tokenizer) -> Statement | None:
    """Cut and judge a request: the query parameter, a line break and the body are one text.

    Returns:
        The statement, or None where there is none.

    Raises:
        ClickHouseError: Refused by the guard, too long, or not a statement.

    """
    if not body and not query.strip():
        return None
    if not query:
        query, body = body, b""
    is_insert = _INSERT.match(query) is not None
    if body and not is_insert:
        query, body = query + b"\n" + body, b""
    if not is_insert and len(query) > MAX_STATEMENT:
        raise ClickHouseError.of(SYNTAX_ERROR, "SYNTAX_ERROR", f"A statement is longer than {MAX_STATEMENT} bytes")
    if is_insert:
        return _insert(query, body, tokenize)
    tokens = tokenize(query)
    if not tokens:
        return None
    check_statement(tokens)
    return Statement(query, output_format=_output_format(tokens), changes_session=tokens[0].name in {"set", "use"})


def _output_format(tokens: Sequence[Token]) -> str | None:
    depth = 0
    found = None
    for index, token in enumerate(tokens[:-1]):
        depth += (token.kind in _OPENING) - (token.kind in _CLOSING)
        if depth == 0 and token.name == "format" and tokens[index + 1].kind == "BareWord":
            found = tokens[index + 1].text
    return found


def _insert(query: bytes, body: bytes, tokenize: Tokenizer) -> Statement:
    # The data may follow in the same text and be anything: take the head from the first piece that holds it.
    for size in (4096, MAX_STATEMENT):
        tokens = tokenize(query[:size])
        cut = _data_start(tokens)
        # The last token may be cut in two by the limit.
        if (cut is not None and cut < len(tokens)) or len(query) <= size:
            break
    if cut is None:
        if len(query) > MAX_STATEMENT:
            raise ClickHouseError.of(SYNTAX_ERROR, "SYNTAX_ERROR", f"No FORMAT or VALUES in {MAX_STATEMENT} bytes")
        whole = query + b"\n" + body if body else query
        tokens = tokenize(whole)
        check_statement(tokens)
        return Statement(whole)
    keyword = tokens[cut - 1]
    is_values = tokens[cut - 2].name != "format"
    head_tokens = tokens[: cut - 1] if is_values else tokens[: cut - 2]
    check_statement(head_tokens)
    own = _settings_start(head_tokens)
    head = query[: head_tokens[own - 1].end]
    settings = query[head_tokens[own].start : head_tokens[-1].end] if own < len(head_tokens) else b""
    offset = keyword.end
    if not is_values and (gap := _BEFORE_DATA.match(query, offset)) is not None:
        offset = gap.end()
    data: tuple[bytes | memoryview, ...] = tuple(part for part in (memoryview(query)[offset:], body) if part)
    if is_values or keyword.text.lower() == "values":
        data = (b"\n".join(bytes(part) for part in data),)
        if _VALUES_SUSPECT.search(data[0]):
            check_statement(tokenize(bytes(data[0])))
    return Statement(head, data_format="Values" if is_values else keyword.text, data=data, settings=settings)


def _settings_start(head: Sequence[Token]) -> int:
    """How many tokens of an INSERT's head come before its SETTINGS clause; all where it has none."""
    depth = 0
    for index, token in enumerate(head):
        depth += (token.kind in _OPENING) - (token.kind in _CLOSING)
        is_name = index < 2 or head[index - 1].kind == "Dot" or head[index - 1].name in {"into", "table"}
        if token.kind == "BareWord" and token.name == "settings" and depth == 0 and not is_name:
            return index
    return len(head)


def _data_start(tokens: Sequence[Token]) -> int | None:
    """How many tokens of an INSERT come before its data, or None where it is INSERT ... SELECT."""
    depth = 0
    for index, token in enumerate(tokens):
        depth += (token.kind in _OPENING) - (token.kind in _CLOSING)
        if depth or token.kind != "BareWord" or index < 2 or tokens[index - 1].kind == "Dot":
            continue
        # `INSERT INTO values VALUES ...`: the name of the table is no keyword.
        if tokens[index - 1].name in {"into", "table"}:
            continue
        if token.name in {"select", "with", "watch"}:
            return None
        if token.name == "values":
            return index + 1
        if token.name == "format" and index + 1 < len(tokens):
            return index + 2
    return None
