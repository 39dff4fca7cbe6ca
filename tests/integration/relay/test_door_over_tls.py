"""The real door in front of vendors behind TLS: one that a private authority vouches for, one that nobody does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from services.standalone.process import free_port
from tests.support.door_stack import LEGACY, PUBLIC, Stack, running_stack
from tests.support.tls import Authority
from tests.support.vendor import running_vendor

pytestmark = pytest.mark.integration

_VOTE = b'{"trace_id":"t1", "event_type":"thumbs_up_down",\n "metrics":{"vote":1},"timestamp":1795316684241}'
_THUMB = {"event": "feedback", "runId": "0abc0000-0000-4000-8000-000000000001", "feedback": {"thumb": "up"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder)


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture(scope="module")
def stack(folder: Path, authority: Authority, ports: tuple[int, int]) -> Iterator[Stack]:
    with running_stack(
        folder,
        PLAUDIT_LANGWATCH_UPSTREAM=f"https://localhost:{ports[0]}",
        PLAUDIT_LUNARY_UPSTREAM=f"https://localhost:{ports[1]}",
        PLAUDIT_RELAY_CA_FILE=str(authority.file),
        PLAUDIT_RELAY_TRIES="1",
        PLAUDIT_RELAY_BREAKER_FAILURES="1000",
    ) as running:
        yield running


async def _metrics(stack: Stack) -> str:
    async with httpx.AsyncClient() as client:
        return (await client.get(f"{stack.url}/metrics")).text


async def test_feedback_goes_on_and_the_vendors_routes_are_served_through_tls(
    stack: Stack, authority: Authority, ports: tuple[int, int]
) -> None:
    tls = authority.server()
    headers = {"x-auth-token": LEGACY}
    async with running_vendor(ports[0], tls) as vendor, httpx.AsyncClient(base_url=stack.url) as client:
        for _ in range(3):
            assert (await client.post("/api/track_event", content=_VOTE, headers=headers)).status_code == 200
        assert (await client.get("/api/prompts/x?tag=prod", headers=headers)).status_code == 200
        await vendor.wait_for(4)
        assert sorted((received.target, received.body) for received in vendor.received) == [
            ("/api/prompts/x?tag=prod", b""),
            *[("/api/track_event", _VOTE)] * 3,
        ]
        assert {received.header("host") for received in vendor.received} == {f"localhost:{ports[0]}"}
        assert {received.header("x-auth-token") for received in vendor.received} == {LEGACY}
        assert set(tls.asked) == {"localhost"}


async def test_a_vendor_that_cannot_prove_itself_gets_nothing_and_delays_nobody(
    stack: Stack, folder: Path, ports: tuple[int, int]
) -> None:
    (folder / "stranger").mkdir()
    stranger = Authority(folder / "stranger").server()
    headers = {"authorization": f"Bearer {PUBLIC}", "content-type": "application/json"}
    loop = asyncio.get_running_loop()
    async with running_vendor(ports[1], stranger) as vendor, httpx.AsyncClient(base_url=stack.url) as client:
        await client.get("/health/live")
        began = loop.time()
        for _ in range(30):
            answer = await client.post("/v1/runs/ingest", content=json.dumps({"events": [_THUMB]}), headers=headers)
            assert answer.status_code == 200
        assert loop.time() - began < 2.0
        assert (await client.get("/v1/templates/latest", headers=headers)).status_code == 502
        async with asyncio.timeout(20):
            while 'plaudit_relay_dropped_total{reason="untrusted",source="lunary"} 30.0' not in await _metrics(stack):
                await asyncio.sleep(0.05)
        assert vendor.received == []
    assert PUBLIC not in stack.log.read_text()
    rows = await asyncio.to_thread(stack.wait_for_events, f"trace_id = '{_THUMB['runId']}'", 30)
    assert len(rows) == 30
