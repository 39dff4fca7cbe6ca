"""No key and no password in what a run leaves behind: logs, metrics, errors, process lists, the stream, the tables."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from shared.keys import KeyKind
from shared.storage import connect

from .conftest import House

pytestmark = pytest.mark.integration

FORGED = "sk-lw-" + "forged-key-of-nobody" * 2


@pytest.fixture(scope="module", autouse=True)
def traffic(house: House) -> None:
    """Good requests and bad ones, keys in their headers and where keys do not belong."""
    for tenant in (house.ours, house.theirs):
        keys = tenant.keys
        private, public = keys[KeyKind.LUNARY_PRIVATE], keys[KeyKind.LUNARY_PUBLIC]
        event = {"trace_id": "t", "event_type": "thumbs_up_down", "metrics": {"vote": 1}}
        run = {"event": "feedback", "runId": "r", "appId": private, "feedback": {"comment": f"my key is {private}"}}
        for body in (event, {"trace_id": 1}, "no JSON"):
            for token in (keys[KeyKind.LANGWATCH], FORGED, keys[KeyKind.READ]):
                httpx.post(f"{house.door}/api/track_event", json=body, headers={"X-Auth-Token": token})
        for token in (private, public, FORGED):
            headers = {"Authorization": f"Bearer {token}"}
            httpx.post(f"{house.door}/v1/runs/ingest", json={"events": [run]}, headers=headers)
            httpx.post(f"{house.door}/v1/runs/ingest", content=b"{", headers=headers)
            httpx.get(f"{house.door}/v1/runs/r/feedback", headers=headers)
            httpx.get(f"{house.analytics}/api/summary", headers=headers)
        httpx.get(f"{house.analytics}/api/summary", headers={"Authorization": f"Bearer {keys[KeyKind.READ]}"})
        httpx.post(f"{house.analytics}/api/session", json={"key": keys[KeyKind.READ]})
    time.sleep(2.0)


def secrets(house: House) -> dict[str, str]:
    named = {
        f"{tenant.project} {kind}": key for tenant in (house.ours, house.theirs) for kind, key in tenant.keys.items()
    }
    return named | {
        "forged": FORGED,
        "redis": urlsplit(house.valkey.url).password or "",
        "clickhouse": urlsplit(house.clickhouse.url).password or "",
    }


def leaks(house: House, text: str, *, but: frozenset[str] = frozenset()) -> list[str]:
    """The names of the secrets in a text, in whatever case."""
    lowered = text.lower()
    return [name for name, secret in secrets(house).items() if secret.lower() in lowered and name not in but]


def test_no_log_holds_a_key_or_a_password_even_at_debug(house: House) -> None:
    for log in [*(piece.log for piece in house.pieces), house.valkey.log, house.clickhouse.log]:
        text = log.read_text(errors="replace")
        assert leaks(house, text) == [], log.name
    assert house.pieces[0].log.stat().st_size > 0


def test_no_metric_holds_a_key_or_a_password(house: House) -> None:
    for url in (house.door, house.worker_metrics):
        answer = httpx.get(f"{url}/metrics")
        assert answer.status_code == 200
        assert leaks(house, answer.text) == [], url


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="lists processes as Linux does")
def test_no_process_list_holds_a_key_or_a_password(house: House) -> None:
    pids = [*(piece.pid for piece in house.pieces), house.valkey.pid, house.clickhouse.pid]
    for pid in pids:
        assert leaks(house, Path(f"/proc/{pid}/cmdline").read_text(errors="replace")) == []


def test_no_file_of_redis_holds_a_key_but_where_its_password_is_configured(house: House) -> None:
    files = [path for path in (house.folder / "valkey").rglob("*") if path.is_file()]
    assert any(path.suffix == ".aof" for path in files)
    for path in files:
        configured = frozenset({"redis"}) if path.suffix == ".conf" else frozenset[str]()
        assert leaks(house, path.read_bytes().decode("latin-1"), but=configured) == [], path.name
        if configured:
            assert path.stat().st_mode & 0o077 == 0


def test_no_table_holds_a_key(house: House) -> None:
    client = connect(house.database)
    try:
        # But for the view that takes parameters: what it reads is among the others.
        names = [row[0] for row in client.query("SHOW TABLES").result_rows if row[0] != "feedback_of"]
        assert "feedback_events" in names
        assert client.query("SELECT count() FROM feedback_events WHERE trace_id IN ('t', 'r')").result_rows[0][0] >= 4
        for name in names:
            text = client.raw_query(f"SELECT * FROM `{name}`", fmt="JSONEachRow").decode(errors="replace")
            # A public key is public: Lunary's clients put it into pages, and may put it into events.
            assert leaks(house, text, but=frozenset({"ours lunary-public", "theirs lunary-public"})) == [], name
    finally:
        client.close()


def test_no_answer_to_a_wrong_key_repeats_it(house: House) -> None:
    for path in ("/api/track_event", "/v1/runs/ingest"):
        headers = {"X-Auth-Token": FORGED, "Authorization": f"Bearer {FORGED}"}
        answer = httpx.post(f"{house.door}{path}", json={}, headers=headers)
        assert answer.status_code == 401
        assert leaks(house, answer.text + str(answer.headers)) == []
