from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from fastapi import Request

from services.analytics.errors import ApiError
from services.analytics.questions import while_waited_for
from services.analytics.warehouse import Warehouse


class Client:
    """A request's side of the connection."""

    def __init__(self) -> None:
        self.gone = False

    async def is_disconnected(self) -> bool:
        return self.gone


async def test_a_query_ends_when_its_client_goes() -> None:
    client, ended = Client(), asyncio.Event()

    async def query() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    asking = asyncio.create_task(while_waited_for(cast("Request", client), query()))
    await asyncio.sleep(0)
    client.gone = True
    with pytest.raises(ApiError) as refused:
        await asking
    assert refused.value.code == "gone"
    async with asyncio.timeout(1):
        await ended.wait()


async def test_an_answer_and_a_refusal_pass_through() -> None:
    async def answer() -> int:
        return 7

    async def refuse() -> int:
        raise ApiError(422, "too_much", "less")

    assert await while_waited_for(cast("Request", Client()), answer()) == 7
    with pytest.raises(ApiError, match="less"):
        await while_waited_for(cast("Request", Client()), refuse())


class Slow:
    """A ClickHouse that answers when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = asyncio.Event()

    async def query(self, *_: Any, **__: Any) -> Any:
        self.asked += 1
        await self.go.wait()
        raise AssertionError("nobody waits for this")


async def test_no_more_queries_run_at_once_than_allowed_and_who_waits_too_long_is_told() -> None:
    slow = Slow()

    async def connect() -> Any:
        return slow

    warehouse = Warehouse(connect, concurrency=2, timeout=0.05, memory=1)
    running = [asyncio.create_task(warehouse.rows("SELECT 1", {})) for _ in range(2)]
    while slow.asked < 2:
        await asyncio.sleep(0)
    with pytest.raises(ApiError) as refused:
        await warehouse.rows("SELECT 1", {})
    assert (refused.value.status, refused.value.code, slow.asked) == (503, "busy", 2)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    slow.go.set()
    with pytest.raises(AssertionError):
        await warehouse.rows("SELECT 1", {})


async def test_a_query_says_that_it_only_reads_and_what_it_may_take() -> None:
    told: dict[str, Any] = {}

    class Listening:
        async def query(self, _sql: str, *, parameters: Any, settings: dict[str, Any]) -> Any:
            told.update(settings)
            raise OSError("enough")

        async def close(self) -> None:
            told["left"] = True

    async def connect() -> Any:
        return Listening()

    with pytest.raises(ApiError) as refused:
        await Warehouse(connect, concurrency=1, timeout=7.0, memory=123).rows("SELECT 1", {})
    assert refused.value.code == "clickhouse_unavailable"
    assert told["readonly"] == 2
    assert told["left"], "the next query goes to whichever server answers"
    assert told["cancel_http_readonly_queries_on_client_close"] == 1
    assert (told["max_execution_time"], told["max_memory_usage"]) == (7.0, 123)
