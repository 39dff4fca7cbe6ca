"""A receiver of OpenTelemetry's protocol (OTLP over HTTP, protobuf), which reads what it gets by the official package."""

from __future__ import annotations

import contextlib
import gzip
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1 import trace_pb2

_PATH = "/v1/traces"


@dataclass(frozen=True)
class Event:
    name: str
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Span:
    """As it arrived. Ids in hexadecimal; ``parent`` empty for a root; times in nanoseconds since 1970."""

    service: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    start: int
    end: int
    failed: bool
    description: str
    attributes: dict[str, Any]
    events: list[Event]

    @property
    def traceparent(self) -> str:
        """By which another span becomes its child."""
        return f"00-{self.trace}-{self.id}-01"


@dataclass
class Collector:
    """``behave`` gives the status of an answer, and may take its time."""

    url: str = ""
    behave: Callable[[], int] = lambda: 200
    spans: list[Span] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)
    """Headers of each request, names in lower case."""
    bodies: list[bytes] = field(default_factory=list)
    """Unpacked."""

    def wait_for(self, wanted: Callable[[list[Span]], bool], seconds: float = 20) -> list[Span]:
        """All spans, as soon as they are what is wanted; what there is after ``seconds``."""
        deadline = time.monotonic() + seconds
        while not wanted(list(self.spans)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return list(self.spans)

    def trace(self, trace: str, count: int, seconds: float = 20) -> list[Span]:
        """The spans of one trace, as soon as there are ``count``, in the order in which they began."""

        def of_it(spans: list[Span]) -> list[Span]:
            return sorted((span for span in spans if span.trace == trace), key=lambda span: span.start)

        return of_it(self.wait_for(lambda spans: len(of_it(spans)) >= count, seconds))

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        self.bodies.append(body)
        for resource in request.resource_spans:
            service = next(_plain(item.value) for item in resource.resource.attributes if item.key == "service.name")
            for scope in resource.scope_spans:
                self.spans += [_read(str(service), span) for span in scope.spans]


@contextlib.contextmanager
def running_collector(port: int = 0) -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.requests.append({name.lower(): value for name, value in self.headers.items()})
            status = collector.behave()
            if self.path != _PATH or self.headers["content-type"] != "application/x-protobuf":
                status = 400
            if status == 200:
                packed = self.headers.get("content-encoding") == "gzip"
                collector.take(gzip.decompress(body) if packed else body)
            answer = ExportTraceServiceResponse().SerializeToString()
            with contextlib.suppress(OSError):
                self.send_response(status)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name is the library's
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", port), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


def _read(service: str, span: trace_pb2.Span) -> Span:
    return Span(
        service,
        span.name,
        trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        span.status.message,
        {item.key: _plain(item.value) for item in span.attributes},
        [Event(event.name, {item.key: _plain(item.value) for item in event.attributes}) for event in span.events],
    )


def _plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None
