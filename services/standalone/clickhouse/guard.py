"""What is refused before the engine sees it.

The engine's grants (see confinement) refuse tables, engines and dictionaries that lie outside. This module
refuses what those grants do not cover in an embedded engine: the scalar function ``file``, INTO OUTFILE and
FROM INFILE, scripts, disks made up in a statement, several statements in one request, and web pages that
post to loopback. It judges tokens made by the engine's own lexer, so that it can never disagree with the
parser about where a string or a comment ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from services.standalone.clickhouse.errors import ACCESS_DENIED, SYNTAX_ERROR, ClickHouseError

# As a bare name (also quoted) these reach the user's files or programs: `file(x)`, `arrayMap(file, xs)`,
# `* APPLY(file)`. A column of that name has to be written with its table: `t.file`.
REFUSED_NAMES: Final = frozenset({"file", "executable", "executablepool", "eval", "python", "infile", "outfile"})
# Only where they are called. The table functions here take a list of columns as text, and a column's DEFAULT or ALIAS
# in it is an expression that the engine evaluates, made up at run time where no lexer sees it.
REFUSED_CALLS: Final = frozenset(
    {
        *("disk", "filesystem", "viewexplain", "catboostevaluate", "hascolumnintable"),
        *("input", "values", "sqlstandardvalues", "generaterandom", "null", "fuzzjson", "fuzzquery"),
    }
)
_LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True)
class Token:
    """One significant token: ``kind`` as ClickHouse's lexer names it, ``text`` as written."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def name(self) -> str | None:
        """The identifier or keyword in lower case and without quotes, or None for anything else."""
        if self.kind == "BareWord":
            return self.text.lower()
        if self.kind in {"QuotedIdentifier", "DoubleQuotedIdentifier"}:
            return self.text[1:-1].lower()
        return None


def _refuse(what: str) -> ClickHouseError:
    return ClickHouseError.of(
        ACCESS_DENIED,
        "ACCESS_DENIED",
        f"The embedded server refuses {what}: statements may not reach outside its tables",
    )


def check_statement(tokens: Sequence[Token]) -> None:
    """Refuse a statement that could reach outside the tables.

    Args:
        tokens: All significant tokens of the statement (of an INSERT: without its data).

    Raises:
        ClickHouseError: ACCESS_DENIED, or SYNTAX_ERROR for more than one statement.

    """
    before: Token | None = None
    for index, token in enumerate(tokens):
        after = tokens[index + 1] if index + 1 < len(tokens) else None
        if token.kind in {"Semicolon", "VerticalDelimiter"} and after is not None and after.kind != token.kind:
            raise ClickHouseError.of(SYNTAX_ERROR, "SYNTAX_ERROR", "Multi-statements are not allowed")
        _check_name(token, before, after)
        before = token
    first = tokens[0].name if tokens else None
    if first == "attach" and any(token.name == "from" for token in tokens):
        raise _refuse("ATTACH ... FROM")
    _check_format_function(tokens)


def _check_name(token: Token, before: Token | None, after: Token | None) -> None:
    name = token.name
    if name is None:
        return
    if token.kind != "BareWord" and "\\" in token.text:
        # `fi\x6ce` is the name file to the engine.
        raise _refuse("a backslash in a quoted identifier")
    qualified = before is not None and before.kind == "Dot"
    called = after is not None and after.kind == "OpeningRoundBracket"
    if (name in REFUSED_NAMES and (called or not qualified)) or (name in REFUSED_CALLS and called):
        raise _refuse(f"the name '{name}' (qualify a column of this name with its table)")


def _check_format_function(tokens: Sequence[Token]) -> None:
    """The table function ``format(Values, '(file(...))')`` evaluates its text; the scalar ``format('{}', x)`` does not.

    No format has a brace in its name, so a first argument that plainly is a string with one makes it the scalar.
    """
    for index, (token, after) in enumerate(pairwise(tokens)):
        if token.name != "format" or after.kind != "OpeningRoundBracket":
            continue
        first, second = (*tokens[index + 2 : index + 4], None, None)[:2]
        is_scalar = first is not None and first.kind == "StringLiteral" and "{" in first.text
        if not is_scalar or second is None or second.kind not in {"Comma", "ClosingRoundBracket"}:
            raise _refuse("the table function format()")


def check_origin(host: str | None, origin: str | None, port: int) -> None:
    """Refuse what a browser sends on behalf of a web page, and names that were rebound to loopback.

    Args:
        host: The Host header. It must name loopback with this port, so that a foreign name that resolves to
            loopback (DNS rebinding) does not pass.
        origin: The Origin header. No SQL client sends one.
        port: The port that the server listens on.

    Raises:
        ClickHouseError: ACCESS_DENIED.

    """
    if origin is not None:
        raise _refuse("requests that carry an Origin header")
    if (host or "").lower() not in {f"{name}:{port}" for name in _LOOPBACK_NAMES}:
        raise _refuse("a Host that is not loopback with its port")
