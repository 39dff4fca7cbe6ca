"""The door's own rules, over HTTP: limits, keys that come and go, its documents, its end."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from shared.keys import KeyKind
from shared.keys_admin import KeyAdmin
from shared.storage import connect
from tests.support.door_stack import LEGACY, OTHER_PUBLIC, PUBLIC, SCOPED_TWICE, Stack, running_stack

pytestmark = pytest.mark.integration

_VOTE = {"trace_id": "t", "event_type": "thumbs_up_down", "metrics": {"vote": 1}}
_UNKNOWN = "sk-lw-nobody-has-this-one"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    limits = {"PLAUDIT_INGEST_RATE_LIMIT": "5", "PLAUDIT_INGEST_RATE_BURST": "1", "PLAUDIT_INGEST_BODY_TIMEOUT": "1"}
    with running_stack(tmp_path_factory.mktemp("door"), **limits) as running:
        yield running


def _track(stack: Stack, token: str, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{stack.url}/api/track_event", json=_VOTE, headers={"X-Auth-Token": token, **headers}, timeout=20
    )


def _patiently(stack: Stack, token: str, **headers: str) -> httpx.Response:
    """As the rate limit asks for."""
    while (answer := _track(stack, token, **headers)).status_code == 429:
        time.sleep(float(answer.headers["retry-after"]))
    return answer


def test_over_the_rate_limit_a_project_is_told_when_to_come_back_and_others_are_not(stack: Stack) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: _track(stack, LEGACY), range(40)))
    assert Counter(answer.status_code for answer in answers).keys() == {200, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["error"] == "Too Many Requests"
    assert int(refused.headers["retry-after"]) >= 1
    assert _track(stack, SCOPED_TWICE, **{"X-Project-Id": "project_two"}).status_code == 200


def test_lunarys_429_is_the_vendors_and_carries_cors(stack: Stack) -> None:
    def ingest(_: int) -> httpx.Response:
        headers = {"Authorization": f"Bearer {OTHER_PUBLIC}", "Origin": "https://shop.example"}
        return httpx.post(f"{stack.url}/v1/runs/ingest", json={"events": []}, headers=headers)

    with ThreadPoolExecutor(8) as threads:
        refused = next(answer for answer in threads.map(ingest, range(40)) if answer.status_code == 429)
    assert refused.text == "Sometimes You Just Have to Slow Down."
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["access-control-allow-origin"] == "https://shop.example"


def test_a_new_key_works_at_once_and_a_revoked_one_stops_within_ten_seconds(stack: Stack) -> None:
    client = connect(stack.clickhouse_settings)
    admin = KeyAdmin(client)
    token = admin.add("project_new", KeyKind.LANGWATCH)
    assert _track(stack, token).status_code == 200
    admin.revoke(token)
    client.close()
    deadline = time.monotonic() + 10
    while (status := _patiently(stack, token).status_code) == 200 and time.monotonic() < deadline:
        time.sleep(0.25)
    assert status == 401


def test_with_the_keys_store_away_known_keys_go_on_and_unknown_ones_are_told_to_try_again(stack: Stack) -> None:
    assert _patiently(stack, LEGACY).status_code == 200
    time.sleep(1.1)  # the door asks for unknown keys once a second at most
    assert _track(stack, _UNKNOWN).status_code == 401
    stack.clickhouse.kill()
    try:
        time.sleep(1.1)
        unknown = _track(stack, _UNKNOWN)
        known = _patiently(stack, LEGACY)
    finally:
        stack.clickhouse.restart()
    assert (unknown.status_code, unknown.json()["error"]) == (503, "Service Unavailable")
    assert "retry-after" in unknown.headers
    assert known.status_code == 200


def test_a_slow_body_is_given_up(stack: Stack) -> None:
    host, port = stack.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as slow:
        head = f"POST /v1/runs/ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {PUBLIC}\r\nContent-Length: 10\r\n\r\n{{"
        slow.sendall(head.encode())
        answer = slow.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer


def test_the_limit_of_a_langwatch_body_is_one_mebibyte(stack: Stack) -> None:
    headers = {"X-Auth-Token": SCOPED_TWICE, "X-Project-Id": "project_two"}
    whole = json.dumps(_VOTE).encode()
    for size, status in ((1024 * 1024, 200), (1024 * 1024 + 1, 413)):
        body = whole + b" " * (size - len(whole))
        while True:
            answer = httpx.post(f"{stack.url}/api/track_event", content=body, headers=headers)
            if answer.status_code != 429:
                break
            time.sleep(0.3)
        assert answer.status_code == status, answer.text


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref":
                yield item
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def test_the_documents_describe_the_routes_and_hang_together(stack: Stack) -> None:
    document = httpx.get(f"{stack.url}/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    assert {"/api/track_event", "/api/events/track", "/v1/runs/ingest", "/api/report", "/v1/runs/{id}/feedback"} == set(
        document["paths"]
    )
    schemas = document["components"]["schemas"]
    assert {reference.removeprefix("#/components/schemas/") for reference in _references(document)} <= set(schemas)
    assert schemas["TrackEvent"]["required"] == ["trace_id", "event_type", "metrics"]
    page = httpx.get(f"{stack.url}/docs")
    assert "POST /api/track_event" in page.text
    assert "<script" not in page.text
    assert "http" not in page.text.replace("HTTP", "").replace("https://docs.", "")


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs"])
def test_the_doors_own_pages_answer(stack: Stack, path: str) -> None:
    answer = httpx.get(stack.url + path)
    assert answer.status_code == 200
    assert "server" not in answer.headers


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/", {"error": "Not Found"}),
        ("/api/nothing", {"error": "Not Found"}),
        ("/v1/nothing", {"message": "Not Found"}),
    ],
)
def test_what_is_not_there_is_said_in_the_vendors_words(stack: Stack, path: str, body: dict[str, str]) -> None:
    answer = httpx.get(stack.url + path)
    assert (answer.status_code, answer.json()) == (404, body)
