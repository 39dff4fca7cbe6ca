"""The same trace through a collector that others made, which reads the protocol its own way and passes it on."""

from __future__ import annotations

import secrets
from pathlib import Path

import httpx
import pytest

from tests.support.collector import running_collector
from tests.support.door_stack import LEGACY, running_stack
from tests.support.rotel import running_rotel

from .conftest import tracing

pytestmark = pytest.mark.integration


def test_one_trace_from_the_request_to_the_insert_comes_out_of_a_real_collector(tmp_path: Path) -> None:
    log = tmp_path / "rotel.log"
    with running_collector() as behind, running_rotel(log, behind.url) as url:
        with running_stack(tmp_path, **tracing(url)) as stack:
            trace = secrets.token_hex(16)
            headers = {"X-Auth-Token": LEGACY, "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
            body = {"trace_id": "t", "event_type": "thumbs_up_down", "metrics": {"vote": 1}}
            assert httpx.post(f"{stack.url}/api/track_event", json=body, headers=headers).status_code == 200
            spans = behind.trace(trace, 4)
            counted = httpx.get(f"{stack.url}/metrics").text
        assert [(span.service, span.kind) for span in spans] == [
            ("plaudit-ingest", "SERVER"),
            ("plaudit-ingest", "PRODUCER"),
            ("plaudit-worker", "CONSUMER"),
            ("plaudit-worker", "CLIENT"),
        ]
        assert [span.parent for span in spans] == ["00f067aa0ba902b7", *(span.id for span in spans[:3])]
        assert spans[3].attributes["db.system.name"] == "clickhouse"
        assert 'plaudit_otel_spans_total{outcome="exported"}' in counted
        assert "Received traces" in log.read_text()
        assert {request["user-agent"].split("/")[0] for request in behind.requests} == {"Rotel Rust"}
