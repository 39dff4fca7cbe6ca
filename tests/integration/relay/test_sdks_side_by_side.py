"""What the vendor receives through Plaudit equals what it receives directly, from the vendors' own clients."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from services.standalone.process import free_port
from tests.support import npm
from tests.support.door_stack import LEGACY, PUBLIC, Stack, running_stack
from tests.support.vendor import Received, Vendor, running_vendor

pytestmark = [pytest.mark.integration, pytest.mark.sdk]

_LUNARY_PYTHON = """
import lunary
lunary.track_feedback("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeee01", {"thumb": "up", "comment": "é"})
thread = lunary.open_thread(id="99999999-0000-4000-8000-000000000001", tags=["a"])
thread.track_message({"id": "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeee02", "role": "assistant", "content": "x"},
                     user_id="ada", feedback={"thumb": "down"})
try:
    lunary.get_raw_template("greeting")
except Exception:
    pass
"""

_LUNARY_NODE = """
import lunary from "lunary";
lunary.trackFeedback("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeee03", { thumb: "up", comment: "é" });
const thread = lunary.openThread({ id: "99999999-0000-4000-8000-000000000002" });
thread.trackMessage({ id: "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeee04", role: "user", content: "x" });
await lunary.flush();
await lunary.getRawTemplate("greeting").catch(() => {});
"""

_LANGWATCH_PYTHON = """
import langwatch
langwatch.setup()
with langwatch.trace(name="chat", metadata={"user_id": "ada"}) as trace:
    with langwatch.span(name="answer", type="llm", model="gpt-5") as span:
        span.add_event("langwatch.event", {"event.type": "thumbs_up_down", "event.metrics.vote": 1,
                                           "event.details.feedback": "great"})
from opentelemetry import trace as otel
otel.get_tracer_provider().force_flush()
"""

_LANGWATCH_NODE = """
import { setupObservability } from "langwatch/observability/node";
import { getLangWatchTracer } from "langwatch";
const handle = setupObservability({ serviceName: "test", langwatch: { apiKey: process.env.LANGWATCH_API_KEY,
  endpoint: process.env.LANGWATCH_ENDPOINT, processorType: "simple" } });
const span = getLangWatchTracer("test").startSpan("answer");
span.addEvent("langwatch.event", { "event.type": "thumbs_up_down", "event.metrics.vote": -1,
                                   "event.details.feedback": "poor" });
span.end();
await handle.shutdown();
"""

_VARYING = re.compile(
    rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*(?:Z|\+00:00)|\b1[789]\d{11}\b"
    rb"|(?!aaaaaaaa|99999999|11111111)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"
)
"""Times and random ids, which differ between any two runs of a client."""

_BETWEEN_NEIGHBOURS = {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "x-forwarded-for"}


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, ports: tuple[int, int]) -> Iterator[Stack]:
    upstreams = {
        "PLAUDIT_LANGWATCH_UPSTREAM": f"http://127.0.0.1:{ports[0]}",
        "PLAUDIT_LUNARY_UPSTREAM": f"http://127.0.0.1:{ports[1]}",
    }
    with running_stack(tmp_path_factory.mktemp("sdks"), **upstreams) as running:
        yield running


async def _empty_trace_answer(request: web.Request, _body: bytes) -> web.StreamResponse:
    if "protobuf" in request.headers.get("content-type", ""):
        return web.Response(content_type="application/x-protobuf")
    return web.json_response({"message": "ok", "versions": []})


async def _received(vendor: Vendor, command: list[str], folder: Path, environment: dict[str, str]) -> list[Received]:
    """What ``vendor`` got from one run of a client, relayed requests included."""
    vendor.received.clear()
    vendor.behave = _empty_trace_answer
    clean = {name: value for name, value in os.environ.items() if "LUNARY" not in name and "LANGWATCH" not in name}
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=folder,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    count = -1
    while count != len(vendor.received):
        count = len(vendor.received)
        await asyncio.sleep(0.5)
    assert vendor.received, done.stdout + done.stderr
    return vendor.received.copy()


def _comparable(received: list[Received]) -> list[Any]:
    """Requests without what is between neighbours and what differs between any two runs; in no order."""
    shown = []
    for request in received:
        headers = sorted((name, value) for name, value in request.headers if name not in _BETWEEN_NEIGHBOURS)
        shown.append((request.method, request.target, headers, _body(request)))
    return sorted(shown, key=repr)


def _body(request: Received) -> Any:
    body = request.body
    if request.header("content-encoding") == "gzip":
        body = gzip.decompress(body)
    if "otel" not in request.target:
        return _VARYING.sub(b"*", body)
    if "protobuf" in (request.header("content-type") or ""):
        traces: Any = MessageToDict(ExportTraceServiceRequest.FromString(body))
    else:
        traces = json.loads(body)
    return _without_ids(traces)


def _without_ids(value: Any) -> Any:
    """Traces with ids, times, and what names the process replaced."""
    if isinstance(value, list):
        return [_without_ids(item) for item in value]
    if not isinstance(value, dict):
        return _VARYING.sub(b"*", value.encode()).decode() if isinstance(value, str) else value
    if str(value.get("key", "")).startswith(("process.", "host.", "service.instance")):
        return {"key": value["key"]}
    return {name: "*" if name.endswith(("Id", "Nano")) else _without_ids(item) for name, item in value.items()}


async def _side_by_side(
    stack: Stack, port: int, command: list[str], folder: Path, url_name: str, **environment: str
) -> list[Received]:
    async with running_vendor() as direct, running_vendor(port) as behind:
        seen_directly = await _received(direct, command, folder, environment | {url_name: direct.url})
        seen_through = await _received(behind, command, folder, environment | {url_name: stack.url})
    assert _comparable(seen_through) == _comparable(seen_directly)
    return seen_through


async def test_lunary_for_python(stack: Stack, ports: tuple[int, int], tmp_path: Path) -> None:
    command = [sys.executable, "-c", _LUNARY_PYTHON]
    seen = await _side_by_side(stack, ports[1], command, tmp_path, "LUNARY_API_URL", LUNARY_PUBLIC_KEY=PUBLIC)
    assert {request.target.partition("?")[0] for request in seen} >= {"/v1/runs/ingest", "/v1/template_versions/latest"}
    rows = await asyncio.to_thread(stack.wait_for_events, "user_id = 'ada' AND source = 'lunary'", 1)
    assert [row["vote"] for row in rows] == [-1.0]


async def test_lunary_for_node(stack: Stack, ports: tuple[int, int]) -> None:
    command = ["node", "--input-type=module", "--eval", _LUNARY_NODE]
    home = npm.installed(npm.LUNARY)
    seen = await _side_by_side(stack, ports[1], command, home, "LUNARY_API_URL", LUNARY_PUBLIC_KEY=PUBLIC)
    assert "/v1/runs/ingest" in {request.target for request in seen}
    trace = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeee03"
    rows = await asyncio.to_thread(stack.wait_for_events, f"trace_id = '{trace}'", 1)
    assert [(row["vote"], row["comment"]) for row in rows] == [(1.0, "é")]


@pytest.mark.parametrize("compression", ["none", "gzip"])
async def test_langwatch_for_python_sends_spans(
    stack: Stack, ports: tuple[int, int], tmp_path: Path, compression: str
) -> None:
    command = [sys.executable, "-c", _LANGWATCH_PYTHON]
    seen = await _side_by_side(
        stack,
        ports[0],
        command,
        tmp_path,
        "LANGWATCH_ENDPOINT",
        LANGWATCH_API_KEY=LEGACY,
        OTEL_EXPORTER_OTLP_COMPRESSION=compression,
    )
    assert "/api/otel/v1/traces" in {request.target for request in seen}
    rows = await asyncio.to_thread(
        stack.wait_for_events, "source = 'langwatch' AND details['feedback'] = 'great'", 1 + (compression == "gzip")
    )
    assert {(row["vote"], row["comment"]) for row in rows} == {(1.0, "great")}
    assert all(re.fullmatch("[0-9a-f]{32}", str(row["trace_id"])) for row in rows)


async def test_langwatch_for_node_sends_spans(stack: Stack, ports: tuple[int, int]) -> None:
    command = ["node", "--input-type=module", "--eval", _LANGWATCH_NODE]
    home = npm.installed(npm.LANGWATCH)
    await _side_by_side(stack, ports[0], command, home, "LANGWATCH_ENDPOINT", LANGWATCH_API_KEY=LEGACY)
    rows = await asyncio.to_thread(stack.wait_for_events, "source = 'langwatch' AND details['feedback'] = 'poor'", 1)
    assert [(row["vote"], row["comment"]) for row in rows] == [(-1.0, "poor")]
