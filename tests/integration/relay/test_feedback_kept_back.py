"""With feedback kept back, the vendor sees everything but the feedback; Plaudit has it all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import httpx
import pytest

from services.standalone.process import free_port
from tests.support.door_stack import LEGACY, PRIVATE, PUBLIC, Stack, running_stack
from tests.support.vendor import running_vendor

pytestmark = pytest.mark.integration

_RUN = {"event": "start", "type": "llm", "runId": "0abc0000-0000-4000-8000-000000000001", "name": "gpt-5"}
_THUMB = {"event": "feedback", "runId": "0abc0000-0000-4000-8000-000000000002", "feedback": {"thumb": "up"}}


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Stack]:
    url = f"http://127.0.0.1:{port}"
    upstreams = {"PLAUDIT_LANGWATCH_UPSTREAM": url, "PLAUDIT_LUNARY_UPSTREAM": url}
    with running_stack(tmp_path_factory.mktemp("kept"), **upstreams, PLAUDIT_RELAY_FEEDBACK="false") as running:
        yield running


async def test_only_what_is_no_feedback_goes_on(stack: Stack, port: int) -> None:
    lunary = {"authorization": f"Bearer {PUBLIC}", "content-type": "application/json"}
    async with running_vendor(port) as vendor, httpx.AsyncClient(base_url=stack.url) as client:
        vote = {"trace_id": "kept", "event_type": "thumbs_up_down", "metrics": {"vote": 1}}
        sent = [
            await client.post("/api/track_event", json=vote, headers={"x-auth-token": LEGACY}),
            await client.post("/v1/runs/ingest", content=json.dumps({"events": [_THUMB]}), headers=lunary),
            await client.patch(
                f"/v1/runs/{_THUMB['runId']}/feedback",
                json={"comment": "x"},
                headers={"authorization": f"Bearer {PRIVATE}"},
            ),
            await client.post("/v1/runs/ingest", content=json.dumps({"events": [_THUMB, _RUN]}), headers=lunary),
        ]
        assert [answer.status_code for answer in sent] == [200] * 4
        (received,) = await vendor.wait_for(1)
        await asyncio.sleep(0.3)
        assert len(vendor.received) == 1
        assert json.loads(received.body) == {"events": [_RUN]}
        assert received.header("content-length") == str(len(received.body))
    rows = await asyncio.to_thread(stack.wait_for_events, "1", 4)
    assert len(rows) == 4
