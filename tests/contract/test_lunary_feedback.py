"""What a Lunary client reads back of a run, and who may."""

from __future__ import annotations

import gzip
import time
import uuid
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support.door_stack import OTHER_PUBLIC, PRIVATE, PUBLIC, READ_ONLY, Stack

pytestmark = pytest.mark.integration

_ORIGIN = {"Origin": "https://shop.example"}


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _event(run_id: str, feedback: Any, **more: Any) -> dict[str, Any]:
    return {"event": "feedback", "type": None, "runId": run_id, "feedback": feedback, **more}


def _ingest(stack: Stack, *events: Any, token: str = PUBLIC) -> list[dict[str, Any]]:
    answer = httpx.post(f"{stack.url}/v1/runs/ingest", json={"events": list(events)}, headers=_bearer(token))
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def _feedback(stack: Stack, run_id: str, token: str = PUBLIC) -> Any:
    answer = httpx.get(f"{stack.url}/v1/runs/{run_id}/feedback", headers=_bearer(token))
    assert answer.status_code == 200, answer.text
    return answer.json()


def _feedback_within(stack: Stack, run_id: str, wanted: Any, seconds: float = 2.0, token: str = PUBLIC) -> Any:
    deadline = time.monotonic() + seconds
    while (found := _feedback(stack, run_id, token)) != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


@pytest.fixture
def run_id() -> str:
    return str(uuid.uuid4())


def test_a_write_is_read_back_within_two_seconds_with_its_own_types(stack: Stack, run_id: str) -> None:
    _ingest(stack, _event(run_id, {"thumb": "up"}))  # the first insert of a process is slower: it warms up
    _feedback_within(stack, run_id, {"thumb": "up"}, seconds=20)
    sent = {
        "my_rating": 4.5,
        "nested": {"a_b": [1, None, True, {"c_d": "x"}]},
        "flag": False,
        "none": None,
        "text": "1",
    }
    _ingest(stack, _event(run_id, sent))
    wanted = {
        "thumb": "up",
        "myRating": 4.5,
        "nested": {"aB": [1, None, True, {"cD": "x"}]},
        "flag": False,
        "none": None,
        "text": "1",
    }
    assert _feedback_within(stack, run_id, wanted) == wanted


def test_a_null_thumb_takes_the_thumb_back_and_leaves_the_comment(stack: Stack, run_id: str) -> None:
    _ingest(stack, _event(run_id, {"thumb": "up", "comment": "nice"}, timestamp=1_795_316_670_000))
    _ingest(stack, _event(run_id, {"thumb": None}, timestamp=1_795_316_671_000))
    wanted = {"thumb": None, "comment": "nice"}
    assert _feedback_within(stack, run_id, wanted, 5) == wanted


def test_concurrent_patches_of_one_run_never_lose_a_key(stack: Stack, run_id: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: _ingest(stack, _event(run_id, {f"k{n}": n}, timestamp=1_795_316_670_092)), range(8)))
    wanted = {f"k{n}": n for n in range(8)}
    assert _feedback_within(stack, run_id, wanted, 5) == wanted


def test_an_older_event_that_comes_late_changes_nothing(stack: Stack, run_id: str) -> None:
    _ingest(stack, _event(run_id, {"thumb": "up"}, timestamp=1_700_000_002_000))
    _ingest(stack, _event(run_id, {"thumb": "down", "late": True}, timestamp=1_700_000_001_000))
    wanted = {"thumb": "up", "late": True}
    assert _feedback_within(stack, run_id, wanted, 5) == wanted


def test_a_retransmission_does_not_move_an_event_ahead_of_a_later_one(stack: Stack, run_id: str) -> None:
    first = _event(run_id, {"thumb": "up"}, timestamp=1_700_000_001_000)
    _ingest(stack, first)
    _ingest(stack, _event(run_id, {"thumb": "down"}, timestamp=1_700_000_002_000))
    _ingest(stack, first)
    assert _feedback_within(stack, run_id, {"thumb": "down"}, 5) == {"thumb": "down"}


def test_patch_changes_thumb_and_comment_only_and_needs_a_private_key(stack: Stack, run_id: str) -> None:
    url = f"{stack.url}/v1/runs/{run_id}/feedback"
    body = {"thumb": "down", "comment": "no", "rating": 5}
    assert httpx.patch(url, json=body, headers=_bearer(PUBLIC)).status_code == 401
    answer = httpx.patch(url, json=body, headers=_bearer(PRIVATE))
    assert (answer.status_code, answer.json()) == (200, {})
    wanted = {"thumb": "down", "comment": "no"}
    assert _feedback_within(stack, run_id, wanted, 5) == wanted
    bad = httpx.patch(url, json={"thumb": "sideways"}, headers=_bearer(PRIVATE))
    assert (bad.status_code, bad.json()["error"]) == (422, "Error")


def test_run_ids_of_any_shape_are_found_again_and_uuids_whatever_their_case(stack: Stack) -> None:
    odd = f"chatcmpl/ü {uuid.uuid4().hex}"
    shouted = str(uuid.uuid4()).upper()
    _ingest(stack, _event(odd, {"thumb": "up"}), _event(shouted, {"thumb": "down"}))
    quoted = str(httpx.URL("/").copy_with(path=odd)).removeprefix("/")
    assert _feedback_within(stack, quoted, {"thumb": "up"}, 5) == {"thumb": "up"}
    assert _feedback_within(stack, shouted.lower(), {"thumb": "down"}, 5) == {"thumb": "down"}


def test_a_key_reads_and_writes_its_own_project_only(stack: Stack, run_id: str) -> None:
    _ingest(stack, _event(run_id, {"thumb": "up"}))
    assert _feedback_within(stack, run_id, {"thumb": "up"}, 5) == {"thumb": "up"}
    assert _feedback(stack, run_id, OTHER_PUBLIC) is None
    _ingest(stack, _event(run_id, {"thumb": "down"}), token=OTHER_PUBLIC)
    assert _feedback_within(stack, run_id, {"thumb": "down"}, 5, OTHER_PUBLIC) == {"thumb": "down"}
    assert _feedback(stack, run_id) == {"thumb": "up"}


def test_an_app_id_of_a_foreign_project_rehomes_nothing(stack: Stack, run_id: str) -> None:
    _ingest(stack, _event(run_id, {"thumb": "up"}, appId=OTHER_PUBLIC))
    assert _feedback_within(stack, run_id, {"thumb": "up"}, 5) == {"thumb": "up"}
    assert _feedback(stack, run_id, OTHER_PUBLIC) is None


def test_a_read_key_reads_and_does_not_write(stack: Stack, run_id: str) -> None:
    headers = _bearer(READ_ONLY)
    assert httpx.get(f"{stack.url}/v1/runs/{run_id}/feedback", headers=headers).status_code == 200
    body = {"events": [_event(run_id, {"thumb": "up"})]}
    assert httpx.post(f"{stack.url}/v1/runs/ingest", json=body, headers=headers).status_code == 401


def test_a_private_key_is_kept_out_of_tables_stream_and_log(stack: Stack, run_id: str) -> None:
    event = _event(run_id, {"comment": f"my key is {PRIVATE.upper()}"}, appId=PRIVATE)
    assert _ingest(stack, event, token=PRIVATE) == [{"id": run_id, "success": True}]
    rows = stack.wait_for_events("trace_id = {t:String}", 1, {"t": run_id})
    assert len(rows) == 1
    assert "00000000-0000-0000-0000-000000000000" in str(rows[0]["raw"])
    assert PRIVATE not in str(rows[0]).lower()
    assert PRIVATE not in stack.log.read_text().lower()
    metrics = httpx.get(f"{stack.url}/metrics").text
    assert PRIVATE not in metrics
    assert "plaudit_ingest_events_total" in metrics


def test_what_is_stored_is_what_was_sent_byte_for_byte(stack: Stack, run_id: str) -> None:
    raw = b'{ "event":"feedback", "run_id":"%s","feedback":{"comment":"cut \\ud83d","a":1.50,"a":2} }' % run_id.encode()
    body = b'\xef\xbb\xbf {"events" : [ ' + raw + b" , null ] }"
    answer = httpx.post(f"{stack.url}/v1/runs/ingest", content=body, headers=_bearer(PUBLIC))
    failure = {"success": False, "error": "event must be an object"}
    assert answer.json()["results"] == [{"success": True}, failure]
    rows = stack.wait_for_events("trace_id = {t:String}", 1, {"t": run_id})
    assert [row["raw"] for row in rows] == [raw.decode()]
    assert rows[0]["comment"] == "cut \ufffd"
    assert rows[0]["metrics"] == {"a": 2.0}


def test_events_that_are_not_feedback_are_answered_and_not_kept(stack: Stack, run_id: str) -> None:
    start = {"event": "start", "type": "llm", "runId": run_id, "input": "feedback of the prompt", "timestamp": 1}
    assert _ingest(stack, start) == [{"id": run_id, "success": True}]
    _ingest(stack, _event(run_id, {"thumb": "up"}))
    rows = stack.wait_for_events("trace_id = {t:String}", 1, {"t": run_id})
    assert [row["vote"] for row in rows] == [1.0]


def test_a_chat_message_may_carry_feedback(stack: Stack, run_id: str) -> None:
    thread = str(uuid.uuid4())
    _ingest(
        stack,
        {"event": "chat", "type": "thread", "runId": run_id, "parentRunId": thread, "feedback": {"thumb": "down"}},
    )
    rows = stack.wait_for_events("trace_id = {t:String}", 1, {"t": run_id})
    assert [(row["vote"], row["thread_id"], row["event_type"]) for row in rows] == [(-1.0, thread, "feedback")]


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body)[2:-4]),
        ("identity", bytes),
    ],
)
def test_compressed_bodies_are_read(stack: Stack, run_id: str, encoding: str, pack: Any) -> None:
    body = b'{"events":{"event":"feedback","runId":"%s","feedback":{"thumb":"up"}}}' % run_id.encode()
    headers = _bearer(PUBLIC) | {"Content-Encoding": encoding}
    answer = httpx.post(f"{stack.url}/v1/runs/ingest", content=pack(body), headers=headers)
    assert answer.json() == {"results": [{"id": run_id, "success": True}]}


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"Content-Encoding": "br"}, b"x", 415),
        ({"Content-Encoding": "gzip"}, b"no gzip", 400),
        ({"Content-Encoding": "gzip"}, gzip.compress(b'{"events":[]}')[:-9], 400),
        ({"Content-Encoding": "gzip"}, gzip.compress(b" " * (64 * 1024 * 1024)), 413),
        ({}, b" " * (20 * 1024 * 1024 + 1), 413),
        ({}, b"{", 400),
        ({"Authorization": "Bearer nobody"}, b"{}", 401),
    ],
)
def test_refusals_carry_cors_so_that_a_page_can_read_them(
    stack: Stack, headers: dict[str, str], content: bytes, status: int
) -> None:
    answer = httpx.post(f"{stack.url}/v1/runs/ingest", content=content, headers=_bearer(PUBLIC) | _ORIGIN | headers)
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["vary"] == "Origin"


def test_a_preflight_needs_no_key(stack: Stack) -> None:
    headers = _ORIGIN | {"Access-Control-Request-Method": "POST"}
    answer = httpx.options(f"{stack.url}/v1/runs/ingest", headers=headers)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert answer.headers["access-control-allow-methods"] == "GET,POST,PATCH,DELETE,OPTIONS,PUT"
    assert answer.headers["access-control-allow-headers"] == "Content-Type,Authorization,Accept"
    assert "access-control-max-age" not in answer.headers


def test_old_sdks_report_with_the_project_in_the_body(stack: Stack, run_id: str) -> None:
    event = {"event": "feedback", "runId": run_id, "feedback": {"thumb": "up"}, "app": PUBLIC}
    answer = httpx.post(f"{stack.url}/api/report", json={"events": [event]}, headers=_ORIGIN)
    assert answer.json() == [{"id": run_id, "success": True}]
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"


def test_with_clickhouse_away_only_reading_back_is_refused(stack: Stack, run_id: str) -> None:
    stack.clickhouse.pause()
    try:
        answer = httpx.get(f"{stack.url}/v1/runs/{run_id}/feedback", headers=_bearer(PUBLIC) | _ORIGIN, timeout=20)
        ready = httpx.get(f"{stack.url}/health/ready")
        results = _ingest(stack, _event(run_id, {"thumb": "up"}))
    finally:
        stack.clickhouse.resume()
    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert ready.status_code == 200
    assert results == [{"id": run_id, "success": True}]
    assert _feedback_within(stack, run_id, {"thumb": "up"}, 30) == {"thumb": "up"}


def test_with_redis_away_a_batch_is_refused_with_cors_and_taken_again_afterwards(stack: Stack, run_id: str) -> None:
    body = {"events": [_event(run_id, {"thumb": "up"})]}
    url, headers = f"{stack.url}/v1/runs/ingest", _bearer(PUBLIC) | _ORIGIN
    stack.valkey.kill()
    try:
        answer = httpx.post(url, json=body, headers=headers)
        ready = httpx.get(f"{stack.url}/health/ready")
        runs = httpx.post(url, json={"events": [{"event": "start", "runId": run_id}]}, headers=headers)
    finally:
        stack.valkey.restart()
    assert answer.status_code == 503
    assert 1 <= int(answer.headers["retry-after"]) <= 5
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert ready.status_code == 503
    assert runs.status_code == 200, "what is not kept needs no Redis"
    assert httpx.post(url, json=body, headers=headers).status_code == 200
    assert httpx.get(f"{stack.url}/health/ready").status_code == 200
