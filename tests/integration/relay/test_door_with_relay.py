"""The real door in front of stand-in vendors: what Plaudit answers goes on, what it does not own is theirs."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests.support.door_stack import LEGACY, PRIVATE, PUBLIC, Stack, running_stack
from tests.support.vendor import Vendor, accept, running_vendor, slow, status

pytestmark = pytest.mark.integration

_VOTE = b'{"trace_id":"t1", "event_type":"thumbs_up_down",\n "metrics":{"vote":1},"timestamp":1795316684241}'
_RUN = {"event": "start", "type": "llm", "runId": "0abc0000-0000-4000-8000-000000000001", "name": "gpt-5", "input": "x"}
_THUMB = {"event": "feedback", "runId": "0abc0000-0000-4000-8000-000000000001", "feedback": {"thumb": "up"}}


class Fronted:
    """A door with both vendors behind it."""

    def __init__(self, stack: Stack, langwatch: Vendor, lunary: Vendor) -> None:
        self.stack = stack
        self.langwatch = langwatch
        self.lunary = lunary
        self.url = stack.url

    async def metrics(self) -> str:
        async with httpx.AsyncClient() as client:
            return (await client.get(f"{self.url}/metrics")).text


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    from services.standalone.process import free_port

    return free_port(), free_port()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, ports: tuple[int, int]) -> Iterator[Stack]:
    with running_stack(
        tmp_path_factory.mktemp("relay"),
        PLAUDIT_LANGWATCH_UPSTREAM=f"http://127.0.0.1:{ports[0]}",
        PLAUDIT_LUNARY_UPSTREAM=f"http://127.0.0.1:{ports[1]}",
        PLAUDIT_RELAY_TIMEOUT="3",
        PLAUDIT_LOG_LEVEL="debug",
    ) as running:
        yield running


@pytest.fixture
async def fronted(stack: Stack, ports: tuple[int, int]) -> AsyncIterator[Fronted]:
    async with running_vendor(ports[0]) as langwatch, running_vendor(ports[1]) as lunary:
        yield Fronted(stack, langwatch, lunary)


async def _post(url: str, body: bytes, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.post(url, content=body, headers=headers)


async def test_feedback_is_stored_here_and_arrives_at_the_vendor_as_it_was_sent(fronted: Fronted) -> None:
    answer = await _post(
        f"{fronted.url}/api/track_event?a=%20",
        _VOTE,
        **{"x-auth-token": LEGACY, "content-type": "text/odd", "x-a": "b"},
    )
    assert answer.json() == {"message": "Event tracked"}
    (received,) = await fronted.langwatch.wait_for(1)
    assert received.body == _VOTE
    assert (received.method, received.target) == ("POST", "/api/track_event?a=%20")
    assert received.header("x-auth-token") == LEGACY
    assert received.header("content-type") == "text/odd"
    assert received.header("x-a") == "b"
    assert fronted.lunary.received == []
    rows = await asyncio.to_thread(fronted.stack.wait_for_events, "trace_id = 't1'", 1)
    assert [row["vote"] for row in rows] == [1.0]


async def test_runs_and_feedback_of_lunary_go_on_compressed_as_they_came(fronted: Fronted) -> None:
    body = gzip.compress(json.dumps({"events": [_RUN, _THUMB]}).encode())
    headers = {"authorization": f"Bearer {PUBLIC}", "content-type": "application/json", "content-encoding": "gzip"}
    answer = await _post(f"{fronted.url}/v1/runs/ingest", body, **headers)
    assert [result["success"] for result in answer.json()["results"]] == [True, True]
    (received,) = await fronted.lunary.wait_for(1)
    assert received.body == body
    assert received.header("content-encoding") == "gzip"
    assert received.header("authorization") == f"Bearer {PUBLIC}"


async def test_an_edit_of_feedback_goes_on_and_reading_it_does_not(fronted: Fronted) -> None:
    url = f"{fronted.url}/v1/runs/0abc0000-0000-4000-8000-000000000009/feedback"
    headers = {"authorization": f"Bearer {PRIVATE}"}
    async with httpx.AsyncClient() as client:
        assert (await client.patch(url, json={"thumb": "down"}, headers=headers)).status_code == 200
        (received,) = await fronted.lunary.wait_for(1)
        assert (received.method, received.body) == ("PATCH", b'{"thumb":"down"}')
        assert (await client.get(url, headers=headers)).status_code == 200
    assert len(fronted.lunary.received) == 1


async def test_what_plaudit_refuses_does_not_go_on(fronted: Fronted) -> None:
    assert (await _post(f"{fronted.url}/api/track_event", _VOTE, **{"x-auth-token": "sk-lw-nobody"})).status_code == 401
    assert (await _post(f"{fronted.url}/api/track_event", b"{", **{"x-auth-token": LEGACY})).status_code == 400
    assert (await _post(f"{fronted.url}/v1/runs/ingest", b"{}", authorization="Bearer no")).status_code == 401
    await _post(f"{fronted.url}/api/track_event", _VOTE, **{"x-auth-token": LEGACY})
    assert len(await fronted.langwatch.wait_for(1)) == 1
    assert fronted.lunary.received == []


async def test_a_slow_or_refusing_vendor_never_delays_or_changes_an_answer(fronted: Fronted) -> None:
    fronted.langwatch.behave = slow(1)
    loop = asyncio.get_running_loop()
    headers = {"x-auth-token": LEGACY}
    async with httpx.AsyncClient(base_url=fronted.url) as client:
        await client.get("/health/live")
        began = loop.time()
        for _ in range(30):
            assert (await client.post("/api/track_event", content=_VOTE, headers=headers)).status_code == 200
        assert loop.time() - began < 1.0
        fronted.langwatch.behave = status(500)
        assert (await client.post("/api/track_event", content=_VOTE, headers=headers)).status_code == 200
    await fronted.langwatch.wait_for(31)
    fronted.langwatch.behave = accept


async def test_routes_that_are_not_ours_are_the_vendors_own(fronted: Fronted) -> None:
    async with httpx.AsyncClient() as client:
        await client.get(f"{fronted.url}/api/prompts/x?tag=prod", headers={"x-auth-token": "sk-lw-unknown-here"})
        await client.get(f"{fronted.url}/api/track_event")
        await client.get(f"{fronted.url}/v1/templates/latest?slug=a", headers={"authorization": f"Bearer {PUBLIC}"})
        await client.options(f"{fronted.url}/v1/templates/latest", headers={"origin": "https://a.example"})
        preflight = await client.options(
            f"{fronted.url}/v1/runs/ingest",
            headers={"origin": "https://a.example", "access-control-request-method": "POST"},
        )
        assert preflight.status_code == 204
        assert (await client.get(f"{fronted.url}/health/live")).json() == {"status": "ok"}
        assert (await client.get(f"{fronted.url}/elsewhere")).status_code == 404
    assert [(r.method, r.target) for r in fronted.langwatch.received] == [
        ("GET", "/api/prompts/x?tag=prod"),
        ("GET", "/api/track_event"),
    ]
    assert [(r.method, r.target) for r in fronted.lunary.received] == [
        ("GET", "/v1/templates/latest?slug=a"),
        ("OPTIONS", "/v1/templates/latest"),
    ]


def _otlp(trace: str, *votes: float) -> dict[str, Any]:
    events = [
        {
            "name": "langwatch.event",
            "timeUnixNano": "1795317143359784335",
            "attributes": [
                {"key": "event.type", "value": {"stringValue": "thumbs_up_down"}},
                {"key": "event.metrics.vote", "value": {"doubleValue": vote}},
            ],
        }
        for vote in votes
    ]
    span = {"traceId": trace, "spanId": "12faf622ddc83486", "name": "chat", "events": events}
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}


async def test_feedback_inside_traces_is_stored_once_and_the_traces_go_on_whole(fronted: Fronted) -> None:
    trace = "8DA308AF48E0DD6D480998E3FAB3C2EC"
    body = gzip.compress(json.dumps(_otlp(trace, 1, -1, 7)).encode())
    headers = {"authorization": f"Bearer {LEGACY}", "content-type": "application/json", "content-encoding": "gzip"}
    for _ in range(3):
        answer = await _post(f"{fronted.url}/api/otel/v1/traces", body, **headers)
        assert answer.status_code == 200
        assert answer.json()["partialSuccess"] == {"rejectedSpans": 0, "errorMessage": ""}
    assert [received.body for received in await fronted.langwatch.wait_for(3)] == [body] * 3
    rows = await asyncio.to_thread(fronted.stack.wait_for_events, f"trace_id = '{trace.lower()}'", 2)
    assert sorted(row["vote"] for row in rows) == [-1.0, 1.0]  # type: ignore[type-var]
    assert {str(row["timestamp"])[:23] for row in rows} == {"2026-11-22 03:12:23.359"}


async def test_no_key_is_logged_or_stored_by_the_relay(fronted: Fronted) -> None:
    fronted.lunary.behave = status(403)
    headers = {"authorization": f"Bearer {PRIVATE}", "content-type": "application/json"}
    await _post(f"{fronted.url}/v1/runs/ingest", json.dumps({"events": [_THUMB]}).encode(), **headers)
    await fronted.lunary.wait_for(1)
    with contextlib.suppress(httpx.TransportError):
        await _post(f"{fronted.url}/v1/elsewhere", b"{}", **headers)
    log = fronted.stack.log.read_text()
    for secret in (PRIVATE, LEGACY):
        assert secret not in log
        assert secret not in await fronted.metrics()


async def test_the_figures_tell_what_went_on(fronted: Fronted) -> None:
    await _post(f"{fronted.url}/api/track_event", _VOTE, **{"x-auth-token": LEGACY})
    await fronted.langwatch.wait_for(1)
    text = await fronted.metrics()
    for name in (
        'plaudit_relay_requests_total{source="langwatch"}',
        'plaudit_relay_delay_seconds_count{source="langwatch"}',
        'plaudit_relay_breaker_open{source="lunary"} 0.0',
        'plaudit_relay_queued_bytes{source="lunary"}',
        'plaudit_proxy_in_flight{source="langwatch"} 0.0',
    ):
        assert name in text
