"""The chDB engine: handles, sessions, and running one statement."""

import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Self

import chdb
import structlog

from services.standalone.clickhouse.confinement import FORBIDDEN_GRANTS, write_config
from services.standalone.clickhouse.errors import ClickHouseError
from services.standalone.clickhouse.guard import Token
from services.standalone.clickhouse.statement import Statement
from shared.errors import PlauditError

log = structlog.get_logger()

_MAX_IDLE_HANDLES: Final = 64
_MAX_SESSIONS: Final = 1000
_CACHED_TOKENS: Final = 2048
_CACHED_TEXT: Final = 16_384
_HAS_MEMFD: Final = hasattr(os, "memfd_create")
_IGNORED_TOKENS: Final = "'Whitespace', 'Comment', 'EndOfStream'"


class EngineNotConfinedError(PlauditError):
    """The engine did not take its grants: it would read any file of the user."""


@dataclass(frozen=True, slots=True)
class Call:
    """How to run a statement: for this one request only.

    Attributes:
        database: The current database, or None.
        settings: Settings by name.
        parameters: Values of ``{name:Type}``, escaped as in ClickHouse's TabSeparated.
        output_format: Format of the result where the statement names none.
        session_id: SET and USE hold for later requests with the same one.
        read_only: Refuse what changes anything.

    """

    database: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    output_format: str = "TabSeparated"
    session_id: str | None = None
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out: the result in the asked format, and the engine's counters."""

    data: bytes = b""
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    result_bytes: int = 0


_State = tuple[str | None, tuple[tuple[str, str], ...], tuple[bytes, ...], bool]


def quote(text: str) -> str:
    """A string literal of ClickHouse."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0") + "'"


def _literal(text: bytes) -> bytes:
    return b"'" + text.replace(b"\\", b"\\\\").replace(b"'", b"\\'").replace(b"\0", b"\\0") + b"'"


class Engine:
    """One engine over one folder. Safe for many threads: each running statement has a handle of its own.

    Idle handles are kept by database, settings and session state, so that SET and USE never leak between requests.

    Args:
        folder: Holds ``engine`` (the data) and ``config``; the caller holds its lock. The working directory moves
            there, since chDB reads ``?`` and ``&`` in a path as options.
        max_memory: Bytes that the engine may take.

    Raises:
        EngineNotConfinedError: The engine runs without its grants.

    """

    def __init__(self, folder: Path, max_memory: int) -> None:
        write_config(folder / "config", max_memory)
        self._lock = threading.Lock()
        self._idle: OrderedDict[_State, list[Any]] = OrderedDict()
        self._idle_count = 0
        self._sessions: OrderedDict[str, tuple[bytes, ...]] = OrderedDict()
        self._tokens: OrderedDict[bytes, tuple[Token, ...]] = OrderedDict()
        # Keeps the engine alive between requests.
        self._root = chdb.connect("engine?config-file=config/config.xml")
        grants = self._root.query("SHOW GRANTS", "TabSeparatedRaw").bytes().decode()
        if found := [name for name in FORBIDDEN_GRANTS if f" {name}" in grants]:
            self._root.close()
            raise EngineNotConfinedError(f"the engine grants {', '.join(found)}")
        row = self._root.query("SELECT version(), timezone()", "TabSeparated").bytes().decode()
        self.version, self.timezone = row.strip().split("\t")

    def create_database(self, name: str) -> None:
        """Create ``name`` where it is missing."""
        self._root.query(f"CREATE DATABASE IF NOT EXISTS {_identifier(name)}", "TabSeparated")

    def tokenize(self, text: bytes) -> tuple[Token, ...]:
        """The significant tokens of ``text``, by the engine's own lexer; offsets are bytes."""
        with self._lock:
            if (known := self._tokens.get(text)) is not None:
                self._tokens.move_to_end(text)
                return known
        sql = (
            b"SELECT t.3, t.1, t.2 FROM (SELECT arrayJoin(tokenizeQuery(" + _literal(text) + b")) AS t) "
            b"WHERE t.3 NOT IN (" + _IGNORED_TOKENS.encode() + b")"
        )
        # No limit of the caller's holds here, and nothing of it is remembered: a plain handle.
        raw = self._with_handle((None, (("max_query_size", str(8 * len(sql))),), (), False), sql)
        tokens = tuple(_token(text, line) for line in raw.splitlines())
        if len(text) <= _CACHED_TEXT:
            with self._lock:
                self._tokens[text] = tokens
                while len(self._tokens) > _CACHED_TOKENS:
                    self._tokens.popitem(last=False)
        return tokens

    def run(self, statement: Statement, call: Call) -> Outcome:
        """Run a statement that the guard has judged.

        Raises:
            ClickHouseError: What the engine reported.

        """
        state = self._state(call)
        handle = self._take(state)
        try:
            outcome = _insert(handle, statement) if statement.data_format else _query(handle, statement, call)
        except Exception as error:
            handle.close()
            raise ClickHouseError.from_engine(error) from error
        if statement.changes_session:
            handle.close()
            if call.session_id is not None:
                self._remember(call.session_id, statement.sql)
        else:
            self._give_back(state, handle)
        return outcome

    def close(self) -> None:
        """Close every idle handle and the engine."""
        with self._lock:
            for handles in self._idle.values():
                for handle in handles:
                    handle.close()
            self._idle.clear()
            self._idle_count = 0
        self._root.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _with_handle(self, state: _State, sql: bytes) -> bytes:
        handle = self._take(state)
        try:
            data: bytes = handle.query(sql, "TabSeparated").bytes() or b""
        except Exception as error:
            handle.close()
            raise ClickHouseError.from_engine(error) from error
        self._give_back(state, handle)
        return data

    def _state(self, call: Call) -> _State:
        with self._lock:
            session = () if call.session_id is None else self._sessions.get(call.session_id, ())
        return call.database, tuple(sorted(call.settings.items())), session, call.read_only

    def _remember(self, session_id: str, sql: bytes) -> None:
        """A session is the list of its SET and USE statements, replayed on whatever handle serves it."""
        with self._lock:
            self._sessions[session_id] = (*self._sessions.pop(session_id, ()), sql)
            while len(self._sessions) > _MAX_SESSIONS:
                self._sessions.popitem(last=False)

    def _take(self, state: _State) -> Any:
        with self._lock:
            if handles := self._idle.get(state):
                handle = handles.pop()
                self._idle_count -= 1
                if not handles:
                    del self._idle[state]
                return handle
        database, settings, session, read_only = state
        handle = chdb.connect("engine")
        try:
            for sql in session:
                handle.query(sql, "TabSeparated")
            if database:
                handle.query(f"USE {_identifier(database)}", "TabSeparated")
            pairs = [*settings, ("readonly", "2")] if read_only else settings
            for name, value in pairs:
                handle.query(f"SET {_identifier(name)} = {quote(value)}", "TabSeparated")
        except Exception as error:
            handle.close()
            raise ClickHouseError.from_engine(error) from error
        return handle

    def _give_back(self, state: _State, handle: Any) -> None:
        surplus = []
        with self._lock:
            self._idle.setdefault(state, []).append(handle)
            self._idle.move_to_end(state)
            self._idle_count += 1
            while self._idle_count > _MAX_IDLE_HANDLES:
                oldest, handles = next(iter(self._idle.items()))
                surplus.append(handles.pop())
                self._idle_count -= 1
                if not handles:
                    del self._idle[oldest]
        for old in surplus:
            old.close()


def _identifier(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _token(text: bytes, line: bytes) -> Token:
    kind, start, end = line.split(b"\t")
    return Token(kind.decode(), text[int(start) : int(end)].decode(errors="replace"), int(start), int(end))


def _query(handle: Any, statement: Statement, call: Call) -> Outcome:
    result = handle.query(statement.sql, call.output_format, params=dict(call.parameters))
    return Outcome(
        data=result.bytes() or b"",
        read_rows=result.storage_rows_read(),
        read_bytes=result.storage_bytes_read(),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        result_rows=result.rows_read(),
        result_bytes=result.bytes_read(),
    )


def _insert(handle: Any, statement: Statement) -> Outcome:
    # As a file of its own: data in line in the SQL would be judged and parsed as text, and is cut at a NUL. Not by
    # chDB's send_insert, which reports rows as written whatever went wrong after they were parsed.
    with _data_file() as file:
        for part in statement.data:
            file.write(part)
        file.flush()
        path = f"/proc/self/fd/{file.fileno()}" if _HAS_MEMFD else file.name
        sql = b"%b FROM INFILE %b %b FORMAT %b" % (
            statement.sql,
            _literal(os.fsencode(path)),
            statement.settings,
            (statement.data_format or "").encode(),
        )
        result = handle.query(sql, "TabSeparated")
    return Outcome(written_rows=result.rows_written(), written_bytes=result.bytes_written())


def _data_file() -> IO[bytes]:
    if _HAS_MEMFD:
        return open(os.memfd_create("insert"), "w+b")  # noqa: PTH123 -- a descriptor, closed by the caller
    return tempfile.NamedTemporaryFile(dir=".")
