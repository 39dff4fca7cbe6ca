"""The query API over real servers: who may ask, what is refused, and that answers are those of known feedback."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from services.analytics.sessions import COOKIE
from services.standalone.embedded import EmbeddedServer
from shared.settings import ClickHouseSettings

from .conftest import OTHER, OTHER_KEY, PROJECT, READ_KEY, Site, Store, analytics_settings, running

pytestmark = pytest.mark.integration

DAY = 86400.0
NOON = datetime(2026, 11, 18, 12, tzinfo=UTC).timestamp()
AROUND = {"from": "2026-11-16T00:00:00Z", "to": "2026-11-21T00:00:00Z"}
BEARER = {"authorization": f"Bearer {READ_KEY}"}

ROUTES = [
    "/api/session",
    "/api/summary",
    "/api/breakdown?by=source",
    "/api/breakdown/keys",
    "/api/metrics",
    "/api/events",
    "/api/traces/up",
    "/api/export",
    "/api/tail",
    "/api/pipeline",
]


@pytest.fixture
def known(store: Store) -> Store:
    """Noon of the 18th: up, down with a comment, an undone vote (given at noon, taken back at three), a rating."""
    store.langwatch("up", 1, NOON, event_details={"model": "a"}, user_id="ann")
    store.langwatch("down", -1, NOON + 60, event_details={"model": "b", "feedback": "Falsch, leider"}, user_id="bob")
    store.lunary("undone", {"thumb": "up"}, NOON)
    store.lunary("undone", {"thumb": None}, NOON + 3 * 3600)
    store.lunary("split", {"thumb": "down"}, NOON + 120)
    store.lunary("split", {"comment": "too long"}, NOON + 180)
    store.langwatch("rated", None, NOON + DAY, metrics={"stars": 5})
    store.langwatch("theirs", -1, NOON, project=OTHER, event_details={"feedback": "secret of another"})
    store.refresh()
    return store


@pytest.mark.parametrize("path", ROUTES)
async def test_without_a_key_every_route_answers_401_and_tells_nothing(site: Site, path: str) -> None:
    response = await site.http.get(path)
    assert (response.status_code, response.json()["error"]) == (401, "unauthorized")


@pytest.mark.parametrize("path", ROUTES[:-2])
async def test_a_write_key_does_not_read(site: Site, path: str) -> None:
    response = await site.http.get(path, headers={"authorization": "Bearer sk-lw-for-tests"})
    assert response.status_code == 401


@pytest.mark.parametrize("path", [route for route in ROUTES if "tail" not in route])
async def test_nothing_of_another_project_is_read(known: Store, site: Site, path: str) -> None:
    response = await site.http.get(path, headers=BEARER, params={**AROUND, "by": "trace"} if "?" not in path else None)
    assert "theirs" not in response.text
    assert "secret" not in response.text
    assert (await site.http.get("/api/traces/theirs", headers=BEARER)).status_code == 404
    named = await site.http.get(path, headers=BEARER, params={"project": OTHER, "by": "source"})
    assert (named.status_code, named.json()["error"]) == (403, "forbidden")


async def test_no_answer_carries_a_cors_header(known: Store, site: Site) -> None:
    asked = {**BEARER, "origin": "https://evil.test", "access-control-request-method": "GET"}
    for method in ("GET", "OPTIONS"):
        response = await site.http.request(method, "/api/summary", headers=asked)
        assert not [name for name in response.headers if name.startswith("access-control")]


async def test_totals_count_each_trace_once_by_what_holds(known: Store, site: Site) -> None:
    told = await site.get("/api/summary", **AROUND, interval="day")
    totals = told["totals"]
    assert (totals["up"], totals["down"], totals["undone"]) == (1, 2, 1)
    assert (totals["comments"], totals["traces"], totals["events"]) == (2, 4, 7)
    assert totals["satisfaction"] == pytest.approx(1 / 3)
    assert totals["satisfaction_low"] < 1 / 3 < totals["satisfaction_high"]
    assert told["previous"]["events"] == 0
    assert told["previous"]["satisfaction"] is None


async def test_an_undone_vote_leaves_the_bucket_in_which_it_was_given(known: Store, site: Site) -> None:
    told = await site.get("/api/summary", **AROUND, interval="hour", source="lunary")
    undone = {bucket["time"]: bucket["undone"] for bucket in told["series"] if bucket["undone"]}
    assert undone == {"2026-11-18T15:00:00Z": 1}
    noon = next(bucket for bucket in told["series"] if bucket["time"] == "2026-11-18T12:00:00Z")
    assert noon["up"] == 0


async def test_days_begin_at_midnight_of_the_time_zone(known: Store, site: Site) -> None:
    told = await site.get("/api/summary", **AROUND, interval="day", tz="America/New_York")
    assert [bucket["time"] for bucket in told["series"]][:2] == ["2026-11-15T05:00:00Z", "2026-11-16T05:00:00Z"]


async def test_a_breakdown_counts_in_the_group_of_the_deciding_event(known: Store, site: Site) -> None:
    told = await site.get("/api/breakdown", **AROUND, by="detail:model")
    groups = {group["value"]: (group["up"], group["down"]) for group in told["groups"]}
    assert groups == {"a": (1, 0), "b": (0, 1), None: (0, 1)}
    keys = await site.get("/api/breakdown/keys", **AROUND)
    assert set(keys["metrics"]) == {"vote", "stars"}
    assert "model" in keys["details"]


async def test_groups_beyond_the_limit_are_summed_as_other(known: Store, site: Site) -> None:
    told = await site.get("/api/breakdown", **AROUND, by="user_id", limit=1)
    everything = await site.get("/api/summary", **AROUND)
    assert len(told["groups"]) == 1
    for name in ("up", "down", "undone", "comments", "events", "traces"):
        assert told["groups"][0][name] + told["other"][name] == everything["totals"][name]


async def test_a_metric_of_many_values_is_broken_down_into_ranges(store: Store, site: Site) -> None:
    for number in range(50):
        store.langwatch(f"t{number}", None, NOON + number, metrics={"latency": number * 1.5})
    store.refresh()
    told = await site.get("/api/breakdown", **AROUND, by="metric:latency")
    assert len(told["groups"]) == 10
    assert sum(group["events"] for group in told["groups"]) == 50
    assert all(" to " in group["value"] or " and more" in group["value"] for group in told["groups"])
    (figures,) = (await site.get("/api/metrics", **AROUND))["metrics"]
    assert (figures["count"], figures["min"], figures["max"], figures["mean"]) == (50, 0.0, 73.5, 36.75)


async def test_bad_answers_come_once_a_trace_also_where_thumb_and_comment_were_sent_apart(
    known: Store, site: Site
) -> None:
    told = await site.get("/api/events", **AROUND, vote="down", has_comment="true", current="true")
    found = [(event["trace_id"], event["vote"], event["comment"]) for event in told["events"]]
    assert found == [("split", -1.0, "too long"), ("down", -1.0, "Falsch, leider")]


@pytest.mark.parametrize(
    ("filters", "traces"),
    [
        ({"vote": "up"}, ["undone", "up"]),
        ({"vote": "zero"}, ["undone"]),
        ({"vote": "none"}, ["rated", "split"]),
        ({"search": "FALSCH"}, ["down"]),
        ({"user_id": "ann"}, ["up"]),
        ({"trace_id": "split"}, ["split", "split"]),
        ({"event_type": "rating"}, ["rated"]),
        ({"has_comment": "false", "source": "lunary"}, ["split", "undone", "undone"]),
        ({"to": "2026-11-18T12:00:30Z"}, ["undone", "up"]),
    ],
)
async def test_filters_choose_events(known: Store, site: Site, filters: dict[str, str], traces: list[str]) -> None:
    told = await site.get("/api/events", **{**AROUND, **filters})
    assert sorted(event["trace_id"] for event in told["events"]) == sorted(traces)


async def test_pages_neither_repeat_nor_skip_while_feedback_comes_in(store: Store, site: Site) -> None:
    for number in range(30):
        store.langwatch(f"t{number}", 1, NOON + number // 3)
    store.refresh()
    first = await site.get("/api/events", **AROUND, limit=10)
    seen = [event["id"] for event in first["events"]]
    cursor = first["next"]
    while cursor:
        store.langwatch(f"new-{cursor}", 1, NOON + 1000)
        store.langwatch("t5", -1, NOON + 1001)
        store.refresh()
        page = await site.get("/api/events", **AROUND, limit=7, cursor=cursor)
        seen += [event["id"] for event in page["events"]]
        cursor = page["next"]
    assert len(seen) == len(set(seen)) == 30


async def test_superseded_feedback_says_so(known: Store, site: Site) -> None:
    told = await site.get("/api/events", **AROUND, trace_id="undone")
    assert [(event["vote"], event["superseded"]) for event in told["events"]] == [(0.0, False), (1.0, True)]


async def test_a_trace_tells_its_story_as_it_was_sent(known: Store, site: Site) -> None:
    known.langwatch("down", 1, NOON + 600)
    known.flush()
    told = await site.get("/api/traces/down")
    assert told["current"]["vote"] == 1, "the story is behind"
    assert told["current"]["comment"] == "Falsch, leider"
    assert [event["superseded"] for event in told["events"]] == [False, False]
    assert json.loads(told["events"][0]["raw"])["event_details"]["feedback"] == "Falsch, leider"
    assert (await site.http.get("/api/traces/none", headers=BEARER)).json()["error"] == "unknown_trace"


async def test_a_trace_is_found_by_each_of_its_ids_and_counts_once(store: Store, site: Site) -> None:
    store.lunary("hashed", {"thumb": "down"}, NOON)
    store.lunary("own", {"thumb": "up"}, NOON + 60)
    store.refresh()
    assert (await site.get("/api/summary", **AROUND))["totals"]["traces"] == 2
    store.client.command(
        "INSERT INTO trace_aliases (project_id, source, alias, trace_id, learnt_at) "
        f"VALUES ('{PROJECT}', 'lunary', 'hashed', 'own', now64(6))"
    )
    store.refresh()
    totals = (await site.get("/api/summary", **AROUND))["totals"]
    assert (totals["traces"], totals["up"], totals["down"], totals["events"]) == (1, 1, 0, 2)
    for name in ("hashed", "own"):
        told = await site.get(f"/api/traces/{name}")
        assert (told["trace_id"], told["current"]["vote"], told["total_events"]) == ("own", 1.0, 2)


@pytest.mark.parametrize("fmt", ["ndjson", "csv", "parquet"])
async def test_an_export_holds_what_the_list_holds(known: Store, site: Site, fmt: str, tmp_path: Any) -> None:
    listed = (await site.get("/api/events", **AROUND))["events"]
    response = await site.http.get("/api/export", params={**AROUND, "format": fmt}, headers=BEARER)
    assert response.status_code == 200
    assert f".{fmt}" in response.headers["content-disposition"]
    if fmt == "parquet":
        # Read by the engine: a Parquet file is for other programs.
        (tmp_path / "x").write_bytes(response.content)
        assert response.content[:4] == response.content[-4:] == b"PAR1"
        return
    if fmt == "csv":
        rows = list(csv.DictReader(io.StringIO(response.text)))
        assert [json.loads(row["details"]) for row in rows] == [event["details"] for event in listed]
    else:
        rows = [json.loads(line) for line in response.text.splitlines()]
        assert [row["comment"] for row in rows] == [event["comment"] for event in listed]
    assert [row["id"] for row in rows] == [event["id"] for event in listed]


async def test_an_export_of_many_lots_is_whole(store: Store, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.analytics.export._EVENTS_AT_ONCE", 7)
    for number in range(40):
        store.langwatch(f"t{number}", 1, NOON + number // 4)
    store.refresh()
    response = await site.http.get("/api/export", params=AROUND, headers=BEARER)
    ids = [json.loads(line)["id"] for line in response.text.splitlines()]
    listed = (await site.get("/api/events", **AROUND, limit=100))["events"]
    assert ids == [event["id"] for event in listed]


async def test_too_large_a_parquet_file_is_refused_with_what_to_do(known: Store, redis_url: str) -> None:
    async with running(known.settings, redis_url, analytics_settings(analytics_parquet_rows=3)) as site:
        response = await site.http.get("/api/export", params={**AROUND, "format": "parquet"}, headers=BEARER)
    assert (response.status_code, response.json()["error"]) == (422, "too_much")
    assert "shorter period" in response.json()["message"]


@pytest.mark.parametrize(
    ("path", "parameters", "status", "says"),
    [
        ("summary", {"from": "yesterday"}, 400, "from"),
        ("summary", {"from": "2026-11-20", "to": "2026-11-19"}, 400, "from"),
        ("summary", {"tz": "Mars/Olympus"}, 400, "tz"),
        ("summary", {"interval": "fortnight"}, 400, "interval"),
        ("summary", {"interval": "minute", "from": "2020-01-01"}, 422, "interval"),
        ("summary", {"source": "langfuse"}, 400, "source"),
        ("breakdown", {"by": "password"}, 400, "by"),
        ("breakdown", {}, 400, "by"),
        ("events", {"cursor": "bm90IGEgY3Vyc29y"}, 400, "cursor"),
        ("events", {"limit": "100000"}, 400, "limit"),
        ("events", {"vote": "sideways"}, 400, "vote"),
        ("export", {"format": "xlsx"}, 400, "format"),
        ("nothing", {}, 404, "/docs"),
    ],
)
async def test_what_is_wrong_is_said_with_what_to_change(
    site: Site, path: str, parameters: dict[str, str], status: int, says: str
) -> None:
    response = await site.http.get(f"/api/{path}", params=parameters, headers=BEARER)
    assert response.status_code == status, response.text
    assert says in response.json()["message"]


@pytest.mark.parametrize("value", ["' OR 1=1 --", "\\", "{project:String}", "\x00", "💥", "a" * 900])
async def test_values_never_become_part_of_a_query(known: Store, site: Site, value: str) -> None:
    for name in ("search", "user_id", "trace_id", "event_type"):
        told = await site.http.get("/api/events", params={**AROUND, name: value[:490]}, headers=BEARER)
        assert (told.status_code, told.json()["events"]) == (200, []), told.text
    grouped = await site.http.get("/api/breakdown", params={**AROUND, "by": f"detail:{value}"}, headers=BEARER)
    assert grouped.status_code == 200, grouped.text


async def test_a_query_over_its_memory_is_refused_with_what_to_narrow(store: Store, redis_url: str) -> None:
    for number in range(20_000):
        store.langwatch(f"t{number}", 1, NOON + number / 100, user_id=f"user-{number}")
    store.refresh()
    async with running(store.settings, redis_url, analytics_settings(analytics_query_memory=1_000_000)) as site:
        response = await site.http.get("/api/breakdown", params={**AROUND, "by": "user_id"}, headers=BEARER)
    assert (response.status_code, response.json()["error"]) == (422, "too_much")


async def test_a_log_in_gives_a_cookie_that_no_script_and_no_other_site_can_use(known: Store, site: Site) -> None:
    refused = await site.http.post("/api/session", json={"key": "wrong"})
    assert (refused.status_code, refused.json()["error"]) == (401, "unauthorized")
    form = await site.http.post("/api/session", content=b'{"key":"x"}', headers={"content-type": "text/plain"})
    assert form.status_code == 415
    response = await site.http.post("/api/session", json={"key": READ_KEY})
    assert response.status_code == 204
    cookie = response.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert READ_KEY not in cookie
    assert (await site.http.get("/api/session")).json()["project"] == PROJECT
    assert (await site.http.get("/api/summary", params=AROUND)).json()["totals"]["up"] == 1
    assert (await site.http.get("/api/session", headers={"sec-fetch-site": "cross-site"})).status_code == 401
    await site.http.delete("/api/session")
    assert (await site.http.get("/api/session")).status_code == 401


async def test_the_cookie_is_secure_where_people_come_by_https(store: Store, redis_url: str) -> None:
    settings = analytics_settings(analytics_public_url="https://feedback.example.com")
    async with running(store.settings, redis_url, settings) as site:
        response = await site.http.post("/api/session", json={"key": READ_KEY})
    assert "Secure" in response.headers["set-cookie"]


async def test_a_session_holds_in_other_processes_and_ends_with_its_key(store: Store, redis_url: str) -> None:
    from shared.keys_admin import KeyAdmin

    async with running(store.settings, redis_url, analytics_settings()) as one:
        cookie = (await one.http.post("/api/session", json={"key": OTHER_KEY})).cookies[COOKIE]
    async with running(store.settings, redis_url, analytics_settings()) as two:
        headers = {"cookie": f"{COOKIE}={cookie}"}
        assert (await two.http.get("/api/session", headers=headers)).json()["project"] == OTHER
        forged = cookie.replace(cookie[:4], "0000")
        assert (await two.http.get("/api/session", headers={"cookie": f"{COOKIE}={forged}"})).status_code == 401
        KeyAdmin(store.client).revoke(OTHER_KEY)
        async with asyncio.timeout(10):
            while (await two.http.get("/api/session", headers=headers)).status_code != 401:
                await asyncio.sleep(0.05)


async def test_the_page_is_told_how_stale_it_is(known: Store, redis_url: str) -> None:
    settings = analytics_settings(analytics_refresh=True, analytics_refresh_interval=0.2)
    async with running(known.settings, redis_url, settings) as site, asyncio.timeout(20):
        while True:
            told = await site.get("/api/summary", **AROUND)
            if told["as_of"] and told["totals"]["events"]:
                break
            await asyncio.sleep(0.1)
        assert told["staleness_seconds"] <= 5
        known.langwatch("fresh", 1, time.time())
        known.flush()
        inserted = time.monotonic()
        while not (await site.get("/api/events", trace_id="fresh"))["events"]:
            await asyncio.sleep(0.05)
        assert time.monotonic() - inserted < 5


async def test_with_redis_away_there_are_answers_and_the_pipeline_says_what_is_missing(known: Store) -> None:
    nowhere = "redis://127.0.0.1:1/0"
    async with running(known.settings, nowhere, analytics_settings()) as site:
        assert (await site.get("/api/summary", **AROUND))["totals"]["up"] == 1
        state = await site.get("/api/pipeline")
        assert (state["backlog"], state["dead_letters"]) == (None, None)
        assert any("Redis" in problem for problem in state["problems"])


async def test_with_clickhouse_away_it_says_so_and_recovers(
    known: Store, redis_url: str, clickhouse: EmbeddedServer
) -> None:
    async with running(known.settings, redis_url, analytics_settings()) as site:
        clickhouse.kill()
        for path in ("summary", "events", "breakdown?by=source", "export", "traces/up"):
            response = await site.http.get(f"/api/{path}", headers=BEARER)
            assert (response.status_code, response.json()["error"]) == (503, "clickhouse_unavailable"), path
            assert response.headers["retry-after"]
        state = await site.get("/api/pipeline")
        assert state["backlog"] == 0
        assert any("ClickHouse" in problem for problem in state["problems"])
        clickhouse.restart()
        assert (await site.get("/api/summary", **AROUND))["totals"]["up"] == 1


async def test_a_service_may_start_before_its_servers(redis_url: str) -> None:
    nowhere = ClickHouseSettings(clickhouse_url=SecretStr("http://x:y@127.0.0.1:1/plaudit"))
    from services.analytics.app import create_app
    from services.analytics.main import build_parts
    from shared.settings import KeySettings, RedisSettings

    parts = build_parts(analytics_settings(), RedisSettings(redis_url=SecretStr(redis_url)), nowhere, KeySettings())
    app = create_app(parts)
    import httpx

    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://plaudit.test") as http,
    ):
        assert (await http.get("/health")).status_code == 200
        assert (await http.get("/health/ready")).status_code == 503
        asked = await http.get("/api/summary", headers=BEARER)
        assert (asked.status_code, asked.json()["error"]) == (503, "keys_unavailable")


async def test_the_api_describes_itself_without_anything_from_elsewhere(site: Site) -> None:
    described = (await site.http.get("/openapi.json")).json()
    assert "/api/summary" in described["paths"]
    page = await site.http.get("/docs")
    assert page.status_code == 200
    assert "/api/breakdown" in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "<script" not in page.text
