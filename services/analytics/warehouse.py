"""Asking ClickHouse: every query with its parameters apart from its text, bounded in time, memory and number."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import structlog
from clickhouse_connect.driver.exceptions import ClickHouseError

from shared.cluster import EVERYWHERE
from shared.errors import StoreUnavailableError
from shared.storage import describe

from .errors import ApiError, unavailable

if TYPE_CHECKING:
    from clickhouse_connect.driver.asyncclient import AsyncClient

log = structlog.get_logger()

Row = dict[str, Any]

TOO_MUCH = frozenset({158, 159, 160, 202, 241, 307, 396})
"""Codes of what a narrower question would not run into: rows, time, estimated time, queries, memory, bytes, result."""

_NOT_THERE_YET = frozenset({60, 81})
"""The table or database is missing: this release's migrations have not run."""

Connect = Callable[[], Awaitable["AsyncClient"]]


class Warehouse:
    """``concurrency``: queries at once; the others wait, at most ``timeout`` seconds. ``memory``: bytes for one query.

    A query ends when its request does: the connection is closed, and ClickHouse cancels what nobody reads. A server
    that does not answer is left: the next query goes to the first that does.
    """

    def __init__(self, connect: Connect, *, concurrency: int, timeout: float, memory: int) -> None:
        self._connect = connect
        self._turns = asyncio.Semaphore(concurrency)
        self._timeout = timeout
        self._line: _Line | None = None
        self._connecting = asyncio.Lock()
        self._settings: dict[str, str | int | float] = {
            # Readers change nothing, whatever the text of a query says.
            "readonly": 2,
            "max_execution_time": timeout,
            "timeout_overflow_mode": "throw",
            "max_memory_usage": memory,
            "max_threads": 4,
            "cancel_http_readonly_queries_on_client_close": 1,
            # The partition is a function of the sorting key, so no event has rows in two of them.
            "do_not_merge_across_partitions_select_final": 1,
            **EVERYWHERE,
        }

    async def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        """All rows of a result that is small by its own LIMIT or grouping. Raises ApiError."""
        async with self._turn() as client:
            result = await client.query(sql, parameters=dict(parameters), settings=self._settings)
            names = result.column_names
            return [dict(zip(names, row, strict=True)) for row in result.result_rows]

    async def raw(self, sql: str, parameters: Mapping[str, Any], fmt: str) -> bytes:
        """A bounded result in one of ClickHouse's formats. Raises ApiError."""
        async with self._turn() as client:
            found = await client.raw_query(sql, parameters=dict(parameters), settings=self._settings, fmt=fmt)
            return bytes(found)

    async def stream(self, sql: str, parameters: Mapping[str, Any], fmt: str) -> AsyncIterator[bytes]:
        """A result piece by piece, as ClickHouse makes it. Raises ApiError, also half-way."""
        async with self._turn() as client:
            source = await client.raw_stream(sql, parameters=dict(parameters), settings=self._settings, fmt=fmt)
            async with source as pieces:
                async for piece in pieces:
                    yield bytes(piece)

    async def close(self) -> None:
        if self._line is not None:
            await self._line.close()
            self._line = None

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[AsyncClient]:
        try:
            async with asyncio.timeout(self._timeout):
                await self._turns.acquire()
        except TimeoutError:
            raise ApiError(503, "busy", "Too many questions at once; try again.", retry_after=2) from None
        line = None
        try:
            line = await self._connected()
            line.users += 1
            yield line.client
        except ClickHouseError as error:
            if _code(error) is None:
                self._leave(line)
            raise _told(error) from error
        except (StoreUnavailableError, OSError, aiohttp.ClientError) as error:
            self._leave(line)
            log.warning("clickhouse_not_reached", reason=describe(error))
            raise unavailable("clickhouse") from error
        finally:
            self._turns.release()
            if line is not None:
                line.users -= 1
                if line is not self._line and not line.users:
                    await line.close()

    async def _connected(self) -> _Line:
        async with self._connecting:
            if self._line is None:
                self._line = _Line(await self._connect())
            return self._line

    def _leave(self, line: _Line | None) -> None:
        """Others may be asking through it still: the last of them closes it."""
        if line is self._line:
            self._line = None


@dataclass(slots=True, eq=False)
class _Line:
    """To one server. ``users``: queries under way."""

    client: AsyncClient
    users: int = 0

    async def close(self) -> None:
        with suppress(ClickHouseError, OSError, aiohttp.ClientError):
            await self.client.close()


def _code(error: ClickHouseError) -> int | None:
    """ClickHouse's own; None where it did not say anything."""
    code = getattr(error, "code", None)
    return code if isinstance(code, int) else None


def _told(error: ClickHouseError) -> ApiError:
    """What a client hears of an error of ClickHouse: never its text, which may quote what people wrote."""
    code = _code(error)
    if code in TOO_MUCH:
        log.info("query_too_much", code=code)
        return ApiError(422, "too_much", "This asks for too much at once: narrow the period or the filters.")
    log.warning("query_failed", code=code, reason=describe(error))
    if code is None:
        return unavailable("clickhouse")
    if code in _NOT_THERE_YET:
        message = "The tables are not of this release yet: run plaudit migrate."
        return ApiError(503, "clickhouse_unavailable", message, retry_after=5)
    return ApiError(503, "clickhouse_unavailable", f"ClickHouse failed with code {code}; try again.", retry_after=2)
