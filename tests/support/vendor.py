"""A stand-in for a vendor's API: remembers what it was sent, and behaves as badly as it is told to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from .tls import ServerTls

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Behaviour = Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]


@dataclass
class Received:
    """One request as it arrived. Header names in lower case, since that is how HTTP compares them."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    client_port: int

    def header(self, name: str) -> str | None:
        return next((value for found, value in self.headers if found == name), None)


@dataclass
class Vendor:
    """``behave`` answers every request; replace it to change what happens."""

    url: str
    behave: Behaviour
    received: list[Received] = field(default_factory=list)

    async def wait_for(self, count: int, seconds: float = 10) -> list[Received]:
        """What was received, as soon as it is so many; what there is after ``seconds``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(self.received) < count:
                    await asyncio.sleep(0.01)
        return self.received


async def accept(_request: web.Request, _body: bytes) -> web.StreamResponse:
    return web.json_response({"message": "Event tracked"})


def status(code: int, **headers: str) -> Behaviour:
    async def answer(_request: web.Request, _body: bytes) -> web.StreamResponse:
        return web.Response(status=code, headers=headers)

    return answer


async def close_without_answer(request: web.Request, _body: bytes) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def close_in_the_middle(request: web.Request, _body: bytes) -> web.StreamResponse:
    """Half of the answer that was announced."""
    response = web.StreamResponse(headers={"content-length": "1000"})
    await response.prepare(request)
    await response.write(b"x" * 500)
    assert request.transport is not None
    await asyncio.sleep(0.05)
    request.transport.close()
    return response


def slow(seconds: float) -> Behaviour:
    async def answer(request: web.Request, body: bytes) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await accept(request, body)

    return answer


@contextlib.asynccontextmanager
async def running_vendor(port: int = 0, tls: ServerTls | None = None) -> AsyncIterator[Vendor]:
    vendor = Vendor("", accept)

    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in request.raw_headers]
        assert request.transport is not None
        port = request.transport.get_extra_info("peername")[1]
        vendor.received.append(Received(request.method, request.raw_path, headers, body, port))
        return await vendor.behave(request, body)

    async with serving(handle, port, tls) as vendor.url:
        yield vendor


@contextlib.asynccontextmanager
async def serving(handler: Handler, port: int = 0, tls: ServerTls | None = None) -> AsyncIterator[str]:
    """An HTTP server for all paths: its URL. With TLS its host is a name, since addresses are not told to servers."""
    app = web.Application(client_max_size=200 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, auto_decompress=False, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls.context if tls else None)
    await site.start()
    scheme, host = ("https", "localhost") if tls else ("http", "127.0.0.1")
    try:
        yield f"{scheme}://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
