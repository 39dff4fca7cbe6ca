"""The commands as people type them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import PROJECT, Store

pytestmark = pytest.mark.integration

LINE = {"trace_id": "t", "event_type": "thumbs_up_down", "metrics": {"vote": 1}, "timestamp": 1.79e12, "user_id": "u"}


def plaudit(store: Store, redis_url: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PLAUDIT_CLICKHOUSE_URL": store.settings.clickhouse_url.get_secret_value(),
        "PLAUDIT_REDIS_URL": redis_url,
        **settings,
    }
    command = [sys.executable, "-m", "services.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_import_reports_and_ends_with_1_where_lines_are_at_fault(store: Store, redis_url: str, tmp_path: Path) -> None:
    file = tmp_path / "x.ndjson"
    file.write_text(json.dumps(LINE) + "\nbroken\n")
    done = plaudit(store, redis_url, "import", str(file), "--source", "langwatch", "--project", PROJECT, "--json")
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert (told["lines"], told["appended"], told["faults"][0][0]) == (2, 1, 2)
    unknown = plaudit(store, redis_url, "import", str(file), "--source", "langwatch", "--project", "nobody")
    assert unknown.returncode == 2
    assert PROJECT in unknown.stderr


def test_erase_asks_first_and_reports(store: Store, redis_url: str) -> None:
    store.insert("langwatch", LINE, 1.79e9)
    store.refresh()
    who = ("erase", "--project", PROJECT, "--user", "u")
    assert plaudit(store, redis_url, *who).returncode != 0
    assert store.client.query("SELECT count() FROM feedback_events").result_rows == [(1,)]
    done = plaudit(store, redis_url, *who, "--yes", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["events"], told["complete"]) == (1, True)
    assert not any(told["left"].values())
    assert plaudit(store, redis_url, "erase", "--project", PROJECT).returncode == 2


def test_refresh_rebuild_derives_everything_anew(store: Store, redis_url: str) -> None:
    store.insert("langwatch", LINE, 1.79e9)
    store.refresh()
    store.client.command("TRUNCATE TABLE feedback_resolved")
    done = plaudit(store, redis_url, "refresh", "--rebuild")
    assert done.returncode == 0, done.stderr
    assert store.client.query("SELECT trace_id FROM feedback WHERE verdict = 'up'").result_rows == [("t",)]


def test_migrate_applies_the_retention_that_is_set(store: Store, redis_url: str) -> None:
    done = plaudit(store, redis_url, "migrate", PLAUDIT_RETENTION_DAYS="50")
    assert done.returncode == 0, done.stderr
    assert "retention changed: feedback_events" in done.stdout
    assert "retention" not in plaudit(store, redis_url, "migrate", PLAUDIT_RETENTION_DAYS="50").stdout
