"""Thousands of bent requests against a started stack: no 5xx, no hang, and the tables hold exactly what was taken."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx
import pytest
import redis
import structlog
from clickhouse_connect.driver.client import Client as ClickHouseClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from shared.dead_letters import KEY as DEAD_LETTERS
from shared.settings import ClickHouseSettings
from shared.storage import connect
from tests.fuzz.expectation import Expectation, Row
from tests.fuzz.recipes import Keys, Recipe, Request, recipes, write
from tests.fuzz.wire import Answer, Client, HangError
from tests.support.up_stack import Ready, running_up

pytestmark = pytest.mark.integration

log = structlog.get_logger()

REQUESTS = int(os.environ.get("PLAUDIT_FUZZ_REQUESTS", "10000"))
_LONG = REQUESTS > 10_000
_IN_ONE_EXAMPLE = 40
_CONNECTIONS = 8
_ALLOWED = {200, 204, 400, 401, 402, 403, 404, 408, 411, 413, 415, 431}

_ROWS = """
SELECT source, trace_id, event_type, vote, comment, metrics, user_id, thread_id, event_id, raw
FROM feedback_events FINAL WHERE trace_id != 'warm-up'
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with running_up(tmp_path_factory.mktemp("fuzz"), {"PLAUDIT_INGEST_BODY_TIMEOUT": "5"}) as ready:
        yield ready


@dataclass
class Run:
    """Sends recipes over a few connections, and notes what came of them."""

    stack: Ready
    runner: asyncio.Runner
    expectation: Expectation = field(default_factory=Expectation)
    statuses: Counter[int] = field(default_factory=Counter)
    sent: int = 0
    _lately: dict[Client, deque[tuple[Request, list[Answer]]]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=8))
    )
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        address = urlsplit(self.stack.ingest_url)
        keys = self.stack.keys
        self._keys = Keys(keys["langwatch"], keys["lunary_public"], keys["read"])
        self._clients = [Client(address.hostname or "", address.port or 0) for _ in range(_CONNECTIONS)]

    def send(self, recipes: list[Recipe]) -> None:
        async def lane(number: int) -> None:
            for recipe in recipes[number::_CONNECTIONS]:
                await self._send_one(self._clients[number], recipe)

        async def all_lanes() -> None:
            # A failure ends all lanes: Hypothesis tries the example once more, and must not meet their rest.
            try:
                async with asyncio.TaskGroup() as lanes:
                    for number in range(_CONNECTIONS):
                        lanes.create_task(lane(number))
            except BaseException:
                for client in self._clients:
                    await client.close()
                raise

        self.runner.run(all_lanes())

    async def _send_one(self, client: Client, recipe: Recipe) -> None:
        fresh = f"fuzz-{next(self._numbers)}-"
        request = write(recipe, self._keys, fresh)
        self.sent += 1
        answers = await client.send(request)
        lately = self._lately[client]
        lately.append((request, answers))
        if not answers:
            self.statuses[0] += 1
            assert request.wire in ("short", "nonsense", "smuggled"), f"closed without an answer: {request}"
        for answer in answers:
            self.statuses[answer.status] += 1
            assert answer.status in _ALLOWED, (answer, request)
            others = set(re.findall(rb"fuzz-\d+-", answer.body)) - {fresh.encode()}
            assert not others, f"an answer to another request; the last on this connection: {list(lately)}"
            self.expectation.note(request, answer)

    def rows(self) -> list[Row]:
        client: ClickHouseClient = connect(ClickHouseSettings(clickhouse_url=SecretStr(self.stack.clickhouse_url)))
        try:
            return [Row(*row) for row in client.query(_ROWS, column_formats={"raw": "bytes"}).result_rows]
        finally:
            client.close()

    def close(self) -> None:
        for client in self._clients:
            self.runner.run(client.close())


@pytest.mark.timeout(7200 if _LONG else 400)
def test_no_request_makes_it_fail_or_hang_and_what_is_stored_is_what_was_taken(stack: Ready) -> None:
    processes = stack.pids()

    with asyncio.Runner() as runner:
        run = Run(stack, runner)

        @settings(
            max_examples=REQUESTS // _IN_ONE_EXAMPLE,
            deadline=None,
            derandomize=not _LONG,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(recipes, min_size=_IN_ONE_EXAMPLE, max_size=_IN_ONE_EXAMPLE))
        def fuzz(recipes: list[Recipe]) -> None:
            run.send(recipes)

        began = time.monotonic()
        fuzz()
        seconds = time.monotonic() - began
        run.close()

    assert run.sent >= REQUESTS * 0.95
    log.info("fuzzed", requests=run.sent, seconds=round(seconds), statuses=dict(sorted(run.statuses.items())))
    assert run.statuses[200] > run.sent / 10, "too few were taken for the comparison to mean much"
    assert httpx.get(f"{stack.ingest_url}/health/ready").status_code == 200
    assert stack.pids() == processes, "a process died and was started again"

    _wait_until_drained(stack)
    rows = run.rows()
    log.info("compared", events_taken=run.expectation.accepted, distinct_stored=len(rows))
    assert run.expectation.faults(rows) == []
    assert len(rows) >= run.expectation.least
    with redis.Redis.from_url(stack.redis_url) as server:
        assert server.hlen(DEAD_LETTERS) == 0, "what was taken must never fail later"


def test_a_server_that_is_silent_is_told_from_one_that_answers() -> None:
    """The fuzzer's own ability to see a hang."""

    async def silent() -> None:
        server = await asyncio.start_server(lambda _reader, _writer: asyncio.sleep(60), "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        request = write(_ANY, Keys("k", "k", "k"), "x")
        client = Client(host, port)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.fuzz.wire.PATIENCE", 0.2)
            with pytest.raises(HangError):
                await client.send(request)
        await client.close()
        server.close()

    asyncio.run(silent())


_ANY = Recipe(False, 0, (0,), (), 0, (), "", "good", 0, "plain", 100)


def _wait_until_drained(stack: Ready) -> None:
    with redis.Redis.from_url(stack.redis_url) as server:
        streams = list(server.scan_iter(_type="stream"))
        deadline = time.monotonic() + 60
        while any(server.xlen(name) for name in streams) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(server.xlen(name) for name in streams)
