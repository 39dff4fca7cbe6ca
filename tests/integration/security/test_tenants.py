"""A key reads and writes its own project only: every route of the house, tried with another project's key."""

from __future__ import annotations

import re
import time
from typing import Any

import httpx
import pytest

from shared.keys import KeyKind
from shared.storage import connect

from .conftest import House, Tenant

pytestmark = pytest.mark.integration

MARK = "only-for-our-eyes"
TRACE = "trace_of_ours"
RUN = "3b0f1c9e-0000-4abc-8def-000000000001"


@pytest.fixture(scope="module", autouse=True)
def feedback_of_ours(house: House) -> None:
    """Something to be stolen."""
    ours = house.ours
    event = {
        "trace_id": TRACE,
        "event_type": "thumbs_up_down",
        "metrics": {"vote": -1},
        "event_details": {"feedback": MARK},
        "timestamp": int(time.time() * 1000) - 5000,
    }
    sent = httpx.post(f"{house.door}/api/track_event", json=event, headers=langwatch(ours))
    assert sent.status_code == 200, sent.text
    sent = httpx.post(f"{house.door}/v1/runs/ingest", json={"events": [patch(RUN, MARK)]}, headers=lunary(ours))
    assert sent.status_code == 200, sent.text
    wait_for_rows(house, ours, 2)


def langwatch(tenant: Tenant) -> dict[str, str]:
    return {"X-Auth-Token": tenant.keys[KeyKind.LANGWATCH]}


def lunary(tenant: Tenant, kind: KeyKind = KeyKind.LUNARY_PUBLIC) -> dict[str, str]:
    return {"Authorization": f"Bearer {tenant.keys[kind]}"}


def patch(run: str, comment: str, **more: Any) -> dict[str, Any]:
    return {"event": "feedback", "runId": run, "timestamp": 1_795_316_670_000, "feedback": {"comment": comment}, **more}


def rows(house: House, tenant: Tenant) -> list[tuple[Any, ...]]:
    client = connect(house.database)
    try:
        query = "SELECT trace_id, comment FROM feedback_events FINAL WHERE project_id = {project:String} ORDER BY ALL"
        return [tuple(row) for row in client.query(query, {"project": tenant.project}).result_rows]
    finally:
        client.close()


def wait_for_rows(house: House, tenant: Tenant, count: int) -> None:
    deadline = time.monotonic() + 20
    while len(rows(house, tenant)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_what_is_written_with_a_key_lands_in_its_project_whatever_the_request_names(house: House) -> None:
    ours, theirs = house.ours, house.theirs
    before = rows(house, ours)
    event = {"trace_id": TRACE, "event_type": "thumbs_up_down", "metrics": {"vote": 1}, "project_id": ours.project}
    named = [ours.project, ours.keys[KeyKind.LUNARY_PUBLIC], ours.keys[KeyKind.LUNARY_PRIVATE]]
    for path in ("/api/track_event", "/api/events/track"):
        for extra in ({}, {"X-Project-Id": ours.project}):
            httpx.post(f"{house.door}{path}", json=event, headers=langwatch(theirs) | extra)
        basic = httpx.BasicAuth(ours.project, theirs.keys[KeyKind.LANGWATCH])
        httpx.post(f"{house.door}{path}", json=event, auth=basic)
    for path in ("/v1/runs/ingest", "/api/report"):
        events = [patch(RUN, "stolen", appId=name) for name in named]
        httpx.post(f"{house.door}{path}", json={"events": events}, headers=lunary(theirs))
    for kind in (KeyKind.LUNARY_PUBLIC, KeyKind.LUNARY_PRIVATE):
        url = f"{house.door}/v1/runs/{RUN}/feedback"
        httpx.patch(url, json={"comment": "stolen"}, headers=lunary(theirs, kind))
    # Their own writes arrive, so whatever was to arrive in ours has arrived as well.
    written = httpx.post(f"{house.door}/api/track_event", json=event, headers=langwatch(theirs))
    assert written.status_code == 200
    wait_for_rows(house, theirs, 1)
    time.sleep(1.5)
    assert rows(house, ours) == before


def test_the_feedback_of_a_run_is_read_with_its_own_projects_keys_only(house: House) -> None:
    url = f"{house.door}/v1/runs/{RUN}/feedback"
    assert MARK in httpx.get(url, headers=lunary(house.ours)).text
    for kind in KeyKind:
        assert MARK not in httpx.get(url, headers=lunary(house.theirs, kind)).text


def test_a_key_of_another_kind_or_nobodys_opens_no_route_of_the_door(house: House) -> None:
    keys = house.ours.keys
    event = {"trace_id": TRACE, "event_type": "thumbs_up_down", "metrics": {"vote": 1}}
    for path in ("/api/track_event", "/api/events/track"):
        for token in (keys[KeyKind.READ], keys[KeyKind.LUNARY_PUBLIC], "sk-lw-" + "x" * 48, ""):
            answer = httpx.post(f"{house.door}{path}", json=event, headers={"X-Auth-Token": token})
            assert answer.status_code in (401, 403), (path, answer.text)
    for method, path in (("POST", "/v1/runs/ingest"), ("POST", "/api/report"), ("GET", f"/v1/runs/{RUN}/feedback")):
        # Reading a run's feedback is what a read key is for.
        reading = [] if method == "GET" else [keys[KeyKind.READ]]
        for token in (*reading, keys[KeyKind.LANGWATCH], "0" * 8 + "-0000-4000-8000-" + "0" * 12):
            body = {"events": [patch(RUN, "x")]} if method == "POST" else None
            answer = httpx.request(
                method, f"{house.door}{path}", json=body, headers={"Authorization": f"Bearer {token}"}
            )
            # 402 is what Lunary's older path answers to what is no key.
            assert answer.status_code in (401, 402, 403), (path, answer.text)


def test_no_route_of_the_analytics_tells_another_projects_key_anything_of_ours(house: House) -> None:
    paths = [path for path in analytics_paths(house) if "tail" not in path]
    assert len(paths) >= 5
    told = [path for path in paths if found(house, house.ours, path)]
    assert len(told) >= 2, "our own key sees it, else this proves nothing"
    assert [path for path in paths if found(house, house.theirs, path)] == []


def test_no_route_of_the_analytics_answers_without_a_read_key(house: House) -> None:
    wrong = [{}, *(lunary(house.ours, kind) for kind in KeyKind if kind is not KeyKind.READ)]
    for path in analytics_paths(house):
        for headers in wrong:
            assert httpx.get(house.analytics + path, headers=headers).status_code == 401, path


def analytics_paths(house: House) -> list[str]:
    """Every GET of the query API, about our trace where it is about one."""
    described = httpx.get(f"{house.analytics}/openapi.json").json()
    paths = [path for path, methods in described["paths"].items() if "get" in methods and path.startswith("/api/")]
    known = {"trace_id": TRACE}
    filled = [re.sub(r"{(\w+)(:\w+)?}", lambda found: known.get(found[1], "x"), path) for path in paths]
    required = {"/api/breakdown": "?by=source", "/api/export": "?format=ndjson"}
    return [path + required.get(path, "") for path in filled if path != "/api/session"]


def found(house: House, tenant: Tenant, path: str) -> bool:
    answer = httpx.get(house.analytics + path, headers=lunary(tenant, KeyKind.READ), timeout=20)
    assert answer.status_code in (200, 404), (path, answer.text)
    return MARK in answer.text
