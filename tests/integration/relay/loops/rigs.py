"""The relay's sender, and its proxy behind a real server, each alone in front of one vendor."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from prometheus_client import CollectorRegistry
from pydantic_core import Url

from services.ingest_api.langwatch import langwatch_error
from services.ingest_api.relay.breaker import Breaker
from services.ingest_api.relay.proxy import Proxy, ProxyLimits
from services.ingest_api.relay.sender import Sender, SendLimits
from services.ingest_api.relay.upstream import upstream
from services.ingest_api.replies import Receive, Scope, Send
from shared.telemetry import RelayMetrics

SENDING = SendLimits(
    lanes=4, tries=4, timeout=2.0, connect_timeout=1.0, idle=3.0, retry_base=0.02, retry_cap=0.1, drain=2.0
)
HEADERS = [(b"authorization", b"Bearer secret"), (b"x-odd", b"\xff\xfe"), (b"content-type", b"application/json")]


class Relay:
    def __init__(self, sender: Sender, registry: CollectorRegistry) -> None:
        self.sender = sender
        self.registry = registry

    def offer(self, body: bytes = b"{}") -> None:
        self.sender.offer("POST", b"/v1/runs/ingest?x=1&y=%20", HEADERS, body)

    def dropped(self, reason: str) -> float:
        labels = {"source": "lunary", "reason": reason}
        return self.registry.get_sample_value("plaudit_relay_dropped_total", labels) or 0

    async def settled(self, seconds: float = 10) -> None:
        async with asyncio.timeout(seconds):
            while self.sender.state.queued:
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def relaying(
    url: str,
    limits: SendLimits = SENDING,
    *,
    failures: int = 1000,
    queue_bytes: int = 10_000_000,
    age: float = 60.0,
    ca_file: Path | None = None,
) -> AsyncIterator[Relay]:
    registry = CollectorRegistry()
    breaker = Breaker(failures, 0.05, 0.2, clock=time.monotonic, random=random.Random(1))
    sender = Sender(
        "lunary",
        upstream(Url(url), ca_file),
        limits,
        breaker,
        RelayMetrics(registry),
        queue_bytes=queue_bytes,
        queue_age=age,
        clock=time.monotonic,
        random=random.Random(1),
    )
    task = asyncio.create_task(sender.run())
    await asyncio.sleep(0)
    try:
        yield Relay(sender, registry)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


PROXYING = ProxyLimits(connections=5, body=2_000_000, connect_timeout=1.0, timeout=1.0)


class Front:
    def __init__(self, url: str, port: int, registry: CollectorRegistry) -> None:
        self.url = url
        self.port = port
        self.registry = registry

    def count(self, status: str) -> float:
        labels = {"source": "langwatch", "status": status}
        return self.registry.get_sample_value("plaudit_proxy_requests_total", labels) or 0


@contextlib.asynccontextmanager
async def fronting(to: str, limits: ProxyLimits = PROXYING, *, ca_file: Path | None = None) -> AsyncIterator[Front]:
    registry = CollectorRegistry()
    proxy = Proxy(
        "langwatch",
        upstream(Url(to), ca_file),
        limits,
        RelayMetrics(registry),
        lambda _scope, code, message: langwatch_error(code, message),
        forwarded_for=True,
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await proxy(scope, receive, send)

    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, http="httptools", lifespan="off", log_config=None, server_header=False))
    duty = asyncio.create_task(proxy.run())
    serving = asyncio.create_task(server.serve([listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield Front(f"http://127.0.0.1:{port}", port, registry)
    finally:
        server.should_exit = True
        await serving
        duty.cancel()
        await asyncio.gather(duty, return_exceptions=True)
