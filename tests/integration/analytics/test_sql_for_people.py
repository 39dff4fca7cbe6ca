"""The queries of the documentation and of the Grafana dashboard run, and answer what they say."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from .conftest import PROJECT, Store

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "analytics.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sql\n(.*?)```", DOCUMENT, re.DOTALL)
QUESTIONS = dict(re.findall(r"\*\*\d\. ([^*]+)\*\*.*?```sql\n(.*?)\n```", DOCUMENT, re.DOTALL))
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "feedback.json").read_text(encoding="utf-8"))
PANELS = {panel["title"] + f" ({panel['type']})": panel for panel in DASHBOARD["panels"]}
NOW = time.time()


@pytest.fixture
def asked(store: Store) -> Store:
    """Two versions (the second is worse), a user who always presses down, an undo, a comment, a custom event."""
    for number in range(60):
        version, good = ("1.0", number % 10 != 0) if number < 30 else ("2.0", number % 2 == 0)
        details = {"version": version, "model": "m1" if good else "m2", "locale": "de"}
        at = NOW - 20 * 86400 + number * 3600
        store.langwatch(f"t{number}", 1 if good else -1, at, event_details=details, user_id=f"u{number % 7}")
    for number in range(4):
        details = {"feedback": "wrong answer again"}
        at = NOW - 5 * 86400 + number
        store.langwatch(f"angry{number}", -1, at, event_details=details, user_id="angry")
    store.langwatch("slow", None, NOW - 86400)
    store.langwatch("slow", 1, NOW - 86400 + 30)
    store.lunary("regret", {"thumb": "down"}, NOW - 2 * 86400)
    store.lunary("regret", {"thumb": None}, NOW - 2 * 86400 + 600)
    store.refresh()
    return store


def rows(store: Store, sql: str) -> list[dict[str, Any]]:
    return list(store.client.query(sql, {"project": PROJECT}).named_results())


def test_eight_questions_and_a_check_are_documented() -> None:
    assert len(BLOCKS) == 9


def test_satisfaction_by_week_lies_in_its_interval(asked: Store) -> None:
    found = rows(asked, BLOCKS[0])
    assert sum(row["votes"] for row in found) == 65
    assert all(row["low"] <= row["satisfaction"] <= row["high"] for row in found)


def test_the_worse_release_shows_as_a_fall(asked: Store) -> None:
    first, second = rows(asked, BLOCKS[1])
    assert (first["version"], first["satisfaction"], second["version"], second["satisfaction"]) == (
        "1.0",
        0.9,
        "2.0",
        0.5,
    )
    assert second["change"] == -0.4


def test_users_who_always_press_down_are_named(asked: Store) -> None:
    (found,) = rows(asked, BLOCKS[2])
    assert (found["user_id"], found["down"], found["a_comment"]) == ("angry", 4, "wrong answer again")


def test_time_to_the_first_vote_is_measured_from_the_first_sign(asked: Store) -> None:
    (found,) = rows(asked, BLOCKS[3])
    assert (found["traces"], found["median_seconds"]) == (1, 30.0)


def test_undone_votes_are_counted_with_how_soon(asked: Store) -> None:
    (found,) = rows(asked, BLOCKS[4])
    assert (found["undone"], found["voted"], found["median_minutes"]) == (1, 66, 10.0)


def test_newest_bad_answers_come_with_their_comments(asked: Store) -> None:
    found = rows(asked, BLOCKS[5])
    assert [row["trace_id"] for row in found] == ["angry3", "angry2", "angry1", "angry0"]


def test_words_of_bad_answers_are_counted_by_trace(asked: Store) -> None:
    assert {row["word"]: row["bad"] for row in rows(asked, BLOCKS[6])} == {"again": 4, "answer": 4, "wrong": 4}


def test_the_worst_place_comes_first(asked: Store) -> None:
    found = rows(asked, BLOCKS[7].replace("7 DAY", "30 DAY"))
    assert found[0]["model"] == "m2"
    assert found[0]["at_most"] < found[-1]["at_most"]


def test_the_derived_table_agrees_with_the_exact_view(asked: Store) -> None:
    assert rows(asked, BLOCKS[8]) == []
    asked.langwatch("t0", 0, NOW - 60)
    asked.flush()
    assert [row["trace_id"] for row in rows(asked, BLOCKS[8])] == ["t0"], "the check does not see what is not refreshed"


def test_the_dashboard_asks_the_eight_questions_word_for_word() -> None:
    """But for the period and the source, which Grafana chooses."""
    found = {panel["title"]: panel["targets"][0]["rawSql"] for panel in DASHBOARD["panels"]}
    assert len(QUESTIONS) == 8
    for title, sql in QUESTIONS.items():
        chosen = sql.replace("{project:String}", "'${project}' AND source IN (${source:singlequote})")
        assert found[title] == re.sub(r"time >= now\(\) - INTERVAL \d+ \w+", "$__timeFilter(time)", chosen)


@pytest.mark.parametrize("title", PANELS)
def test_every_panel_of_the_dashboard_has_an_answer(asked: Store, title: str) -> None:
    asked.refresher.save()
    sql = PANELS[title]["targets"][0]["rawSql"]
    sql = sql.replace("${project}", PROJECT).replace("${source:singlequote}", "'langwatch','lunary'")
    sql = re.sub(
        r"\$__timeFilter\((\w+)\)", r"\1 >= toDateTime(now() - INTERVAL 40 DAY) AND \1 <= toDateTime(now() + 1)", sql
    )
    sql = re.sub(r"\$__timeInterval\((\w+)\)", r"toStartOfInterval(toDateTime(\1), INTERVAL 86400 second)", sql)
    assert "$" not in sql
    found = rows(asked, sql)
    assert found
    assert any(value is not None for row in found for value in row.values())


def test_the_dashboard_offers_the_projects(asked: Store) -> None:
    (project,) = [item for item in DASHBOARD["templating"]["list"] if item["name"] == "project"]
    assert rows(asked, project["query"]) == [{"project_id": "rival"}, {"project_id": PROJECT}]


def test_every_column_of_every_table_and_view_for_people_has_a_comment(store: Store) -> None:
    found = rows(
        store,
        "SELECT table, name FROM system.columns WHERE database = currentDatabase() AND comment = '' "
        "AND table IN ('feedback', 'feedback_events', 'feedback_by_trace', 'feedback_resolved', 'feedback_changes', 'erasures')",
    )
    assert found == []
