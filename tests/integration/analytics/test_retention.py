from __future__ import annotations

import time

import pytest

from shared.cluster import Layout
from shared.retention import apply_retention
from shared.settings import RetentionSettings

from .conftest import Store

pytestmark = pytest.mark.integration


def test_settings_become_ttls_once(store: Store) -> None:
    settings, layout = RetentionSettings(retention_days=100, retention_raw_days=10), Layout.of(store.settings)
    assert set(apply_retention(store.client, RetentionSettings(), layout)) == set()
    changed = apply_retention(store.client, settings, layout)
    assert set(changed) >= {"feedback_events", "feedback_events.raw", "feedback_by_trace", "feedback_resolved"}
    assert apply_retention(store.client, settings, layout) == []


def test_what_is_older_goes_and_the_rest_stays(store: Store) -> None:
    apply_retention(store.client, RetentionSettings(retention_days=10, retention_raw_days=2), Layout.of(store.settings))
    for days in (1, 5, 20):
        store.langwatch(f"t{days}", 1, time.time() - days * 86400)
    store.refresh()
    for table in ("feedback_events", "feedback_by_trace", "feedback_resolved"):
        store.client.command(f"OPTIMIZE TABLE {table} FINAL")
        found = {row[0] for row in store.client.query(f"SELECT trace_id FROM {table}").result_rows}
        assert found == {"t1", "t5"}, table
    kept = store.client.query("SELECT trace_id FROM feedback_events WHERE raw != ''").result_rows
    assert kept == [("t1",)]
    comment = "SELECT comment FROM system.columns WHERE table = 'feedback_events' AND name = 'raw' AND database = currentDatabase()"
    assert store.client.query(comment).result_rows[0][0], "the column's comment was lost"
