"""Which key may do what, where, and how long: over HTTP, against every route that takes a key."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis

from shared.keys import KeyKind
from shared.keys_admin import KeyAdmin
from shared.storage import connect
from tests.support.door_stack import (
    LEGACY,
    OTHER_PUBLIC,
    PRIVATE,
    PUBLIC,
    READ_ONLY,
    SCOPED_TWICE,
    Stack,
    another_service,
    running_stack,
)

pytestmark = pytest.mark.integration

_TWO_HOMES = "99999999-2222-4333-8444-555555555555"
_PLAUDIT_READ = "plaudit-read-0123456789abcdef0123456789"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("keys")) as running:
        with _admin(running) as admin:
            for project in ("project_lunary", "project_other"):
                admin.add(project, KeyKind.LUNARY_PUBLIC, _TWO_HOMES)
            admin.add("project_lunary", KeyKind.READ, _PLAUDIT_READ)
        yield running


@contextlib.contextmanager
def _admin(stack: Stack) -> Iterator[KeyAdmin]:
    client = connect(stack.clickhouse_settings)
    try:
        yield KeyAdmin(client)
    finally:
        client.close()


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _vote(trace_id: str) -> dict[str, Any]:
    return {"trace_id": trace_id, "event_type": "thumbs_up_down", "metrics": {"vote": 1}}


def _event(run_id: str, **more: Any) -> dict[str, Any]:
    return {"event": "feedback", "runId": run_id, "feedback": {"thumb": "up"}, **more}


def _ask(url: str, route: str, token: str, run_id: str) -> int:
    """The status that a key gets on a route."""
    headers = _bearer(token)
    match route:
        case "track" | "track, old":
            path = "/api/events/track" if route == "track" else "/api/track_event"
            return httpx.post(url + path, json=_vote(run_id), headers=headers, timeout=20).status_code
        case "ingest":
            body = {"events": [_event(run_id)]}
            return httpx.post(f"{url}/v1/runs/ingest", json=body, headers=headers, timeout=20).status_code
        case "report":
            body = {"events": [_event(run_id, projectId=token)]}
            return httpx.post(f"{url}/api/report", json=body, timeout=20).status_code
        case "get":
            return httpx.get(f"{url}/v1/runs/{run_id}/feedback", headers=headers, timeout=20).status_code
        case _:
            return httpx.patch(
                f"{url}/v1/runs/{run_id}/feedback", json={"thumb": "up"}, headers=headers, timeout=20
            ).status_code


_ROUTES = ("track", "track, old", "ingest", "report", "get", "patch")


@pytest.mark.parametrize(
    ("kind", "token", "statuses"),
    [
        ("langwatch", LEGACY, (200, 200, 401, 402, 401, 401)),
        ("lunary, public", PUBLIC, (401, 401, 200, 200, 200, 401)),
        ("lunary, private", PRIVATE, (401, 401, 200, 200, 200, 200)),
        ("read", _PLAUDIT_READ, (403, 403, 401, 402, 200, 401)),
        ("unknown", "sk-lw-nobody", (401, 401, 401, 402, 401, 401)),
        ("unknown UUID", str(uuid.uuid4()), (401, 401, 401, 401, 401, 401)),
    ],
)
def test_each_kind_of_key_may_do_its_own_and_no_more(
    stack: Stack, kind: str, token: str, statuses: tuple[int, ...]
) -> None:
    run_id = str(uuid.uuid4())
    assert tuple(_ask(stack.url, route, token, run_id) for route in _ROUTES) == statuses
    taken = [route for route, status in zip(_ROUTES, statuses, strict=True) if status == 200 and route != "get"]
    rows = stack.wait_for_events("trace_id = {t:String}", len(taken), {"t": run_id}, seconds=20 if taken else 1)
    assert len(rows) == len(taken), "what was refused is not stored"


def test_a_key_that_clients_already_hold_is_taken_over_from_the_command_line(stack: Stack) -> None:
    url = stack.clickhouse_settings.clickhouse_url.get_secret_value()
    environment = os.environ | {"PLAUDIT_CLICKHOUSE_URL": url, "PLAUDIT_REDIS_URL": stack.redis_url}
    for kind, token, route in (
        ("langwatch", "sk-lw-theKeyThatTheyHadAtTheVendor00000000000000000", "track"),
        ("lunary-public", str(uuid.uuid4()).upper(), "ingest"),
        ("lunary-private", str(uuid.uuid4()), "patch"),
    ):
        assert _ask(stack.url, route, token, "before") == 401
        command = [sys.executable, "-m", "services.cli", "keys", "add", "--project", "moved", "--kind", kind]
        done = subprocess.run(
            [*command, "--token", token], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        # The door asks for a key that it does not know, but no more than once a second.
        time.sleep(1.1)
        run_id = str(uuid.uuid4())
        assert _ask(stack.url, route, token, run_id) == 200
        rows = stack.wait_for_events("trace_id = {t:String}", 1, {"t": run_id})
        assert [row["project_id"] for row in rows] == ["moved"]


@pytest.mark.parametrize(
    ("token", "app_id", "home"),
    [
        (_TWO_HOMES, None, "project_lunary"),
        (_TWO_HOMES, "project_other", "project_other"),
        (_TWO_HOMES, OTHER_PUBLIC, "project_other"),
        (PUBLIC, OTHER_PUBLIC, "project_lunary"),
        (OTHER_PUBLIC, PRIVATE, "project_other"),
        (PUBLIC, PRIVATE, "project_lunary"),
    ],
)
def test_an_app_id_moves_an_event_only_into_a_project_of_the_presented_key(
    stack: Stack, token: str, app_id: str | None, home: str
) -> None:
    run_id = str(uuid.uuid4())
    answer = httpx.post(
        f"{stack.url}/v1/runs/ingest", json={"events": [_event(run_id, appId=app_id)]}, headers=_bearer(token)
    )
    assert answer.json()["results"] == [{"id": run_id, "success": True}]
    rows = stack.wait_for_events("trace_id = {t:String}", 1, {"t": run_id})
    assert [row["project_id"] for row in rows] == [home]
    if app_id == PRIVATE:
        assert PRIVATE not in str(rows), "another's secret is blanked as well"


def test_a_project_that_the_key_is_not_bound_to_cannot_be_named(stack: Stack) -> None:
    url, body = f"{stack.url}/api/track_event", _vote("t")
    for project, status in (("project_two", 200), ("project_lunary", 401), ("nowhere", 401), ("", 401)):
        headers = _bearer(SCOPED_TWICE) | {"X-Project-Id": project}
        assert httpx.post(url, json=body, headers=headers).status_code == status


def test_nobody_reads_or_changes_another_projects_run(stack: Stack) -> None:
    run_id = str(uuid.uuid4())
    assert _ask(stack.url, "ingest", PUBLIC, run_id) == 200
    assert stack.wait_for_events("trace_id = {t:String}", 1, {"t": run_id})
    read = f"{stack.url}/v1/runs/{run_id}/feedback"
    assert httpx.get(read, headers=_bearer(_PLAUDIT_READ)).json() == {"thumb": "up"}
    for stranger in (OTHER_PUBLIC, READ_ONLY):
        assert httpx.get(read, headers=_bearer(stranger)).json() is None
    with _admin(stack) as admin:
        foreign = admin.add("project_other", KeyKind.LUNARY_PRIVATE)
    time.sleep(1.1)
    changed = httpx.patch(read, json={"thumb": "down"}, headers=_bearer(foreign))
    assert changed.status_code == 200
    rows = stack.wait_for_events("trace_id = {t:String}", 2, {"t": run_id})
    assert {(row["project_id"], row["vote"]) for row in rows} == {("project_lunary", 1.0), ("project_other", -1.0)}
    assert httpx.get(read, headers=_bearer(PUBLIC)).json() == {"thumb": "up"}


def test_a_revoked_key_stops_within_ten_seconds_in_every_process(stack: Stack) -> None:
    with (
        another_service(stack, "ingest", "PLAUDIT_INGEST_PORT") as (second_door, _),
        another_service(stack, "analytics", "PLAUDIT_ANALYTICS_PORT") as (analytics, _),
    ):
        with _admin(stack) as admin:
            writing = admin.add("project_brief", KeyKind.LUNARY_PRIVATE)
            reading = admin.add("project_brief", KeyKind.READ)
        time.sleep(1.1)
        run_id = str(uuid.uuid4())
        day = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z", "interval": "day"}

        def statuses() -> list[int]:
            summary = httpx.get(f"{analytics}/api/summary", params=day, headers=_bearer(reading), timeout=20)
            doors = (stack.url, second_door)
            return [
                summary.status_code,
                *(_ask(door, "get", reading, run_id) for door in doors),
                *(_ask(door, route, writing, run_id) for door in doors for route in ("ingest", "report", "patch")),
            ]

        assert statuses() == [200] * 9
        with _admin(stack) as admin:
            admin.revoke(writing)
            admin.revoke(reading)
        deadline = time.monotonic() + 10
        while statuses() != [401] * 9 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert statuses() == [401] * 9


def test_with_the_keys_home_away_known_keys_go_on_and_unknown_ones_may_try_again(stack: Stack) -> None:
    assert [_ask(stack.url, route, PRIVATE, "known") for route in ("ingest", "report", "patch")] == [200] * 3
    unknown = str(uuid.uuid4())
    assert _ask(stack.url, "ingest", unknown, "x") == 401
    stack.clickhouse.kill()
    try:
        time.sleep(1.1)
        known = [_ask(stack.url, route, PRIVATE, "known") for route in ("ingest", "report", "patch")]
        answer = httpx.post(f"{stack.url}/v1/runs/ingest", json={"events": []}, headers=_bearer(unknown), timeout=20)
        tracked = _ask(stack.url, "track", LEGACY, "known")
        others = [_ask(stack.url, route, unknown, "x") for route in ("track", "report", "get", "patch")]
    finally:
        stack.clickhouse.restart()
    assert known == [200] * 3
    assert tracked == 200
    assert (answer.status_code, answer.json()["message"]) == (503, "Authentication service error")
    assert int(answer.headers["retry-after"]) >= 1
    assert others == [503] * 4


def test_no_key_is_found_in_the_stream_the_tables_the_logs_or_the_metrics(stack: Stack) -> None:
    run_id = f"secrets {uuid.uuid4().hex}"
    stack.clickhouse.pause()
    try:
        for token in (PRIVATE, PRIVATE.upper()):
            event = _event(run_id, appId=token, feedback={"comment": f"mine: {token}"}, userProps={"key": token})
            answer = httpx.post(f"{stack.url}/v1/runs/ingest", json={"events": [event]}, headers=_bearer(token))
            assert answer.status_code == 200
        told = _vote(run_id) | {"event_details": {"feedback": LEGACY, "x": LEGACY.upper()}, "user_id": LEGACY}
        for credentials in (_bearer(LEGACY), {"X-Auth-Token": LEGACY}):
            assert httpx.post(f"{stack.url}/api/track_event", json=told, headers=credentials).status_code == 200
        for token in ("sk-lw-a-wrong-key-that-is-long-enough", str(uuid.uuid4())):
            assert _ask(stack.url, "ingest", token, run_id) in (401, 503)
            assert token not in stack.log.read_text()
        with redis.Redis.from_url(stack.redis_url) as log:
            entries = [entry for name in log.scan_iter(_type="stream") for entry in log.xrange(name)]
            in_stream = repr(entries).lower()
            in_redis = repr([log.dump(name) for name in log.scan_iter()]).lower()
    finally:
        stack.clickhouse.resume()
    assert run_id in in_stream, "the entries were still there to be looked at"
    rows = stack.wait_for_events("trace_id = {t:String}", 4, {"t": run_id}, seconds=60)
    assert len(rows) == 4
    metrics = httpx.get(f"{stack.url}/metrics").text
    places = {
        "stream": in_stream,
        "redis": in_redis,
        "rows": repr(rows),
        "log": stack.log.read_text(),
        "metrics": metrics,
    }
    for name, text in places.items():
        for token in (PRIVATE, LEGACY):
            assert token.lower() not in text.lower(), f"a key is in the {name}"
