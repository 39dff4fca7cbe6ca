"""The vendor's own routes through the door's proxy, on real connections."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from aiohttp import web

from tests.support.vendor import close_in_the_middle, close_without_answer, running_vendor, slow, status

from .rigs import PROXYING, fronting

pytestmark = pytest.mark.integration


async def test_request_and_answer_pass_unchanged_but_for_what_is_between_neighbours() -> None:
    packed = gzip.compress(b"a prompt")

    async def answer(_request: web.Request, _body: bytes) -> web.StreamResponse:
        headers = {"x-vendor": "caf\xc3\xa9", "content-encoding": "gzip", "keep-alive": "timeout=5"}
        response = web.Response(status=418, body=packed, headers=headers)
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response

    async with running_vendor() as vendor, fronting(vendor.url) as front, httpx.AsyncClient() as client:
        vendor.behave = answer
        headers = [("x-twice", "1"), ("x-twice", "2"), ("connection", "x-mine"), ("x-mine", "gone"), ("te", "trailers")]
        headers += [("authorization", "Bearer secret"), ("cookie", "session=1")]
        request = client.build_request(
            "PUT", f"{front.url}/api/prompts/a%2Fb?x=%20&y=[]", headers=headers, content=b"{}"
        )
        sent = await client.send(request, stream=True)
        body = b"".join([chunk async for chunk in sent.aiter_raw()])
        (received,) = vendor.received
        assert (received.method, received.target, received.body) == ("PUT", "/api/prompts/a%2Fb?x=%20&y=[]", b"{}")
        names = [name for name, _ in received.headers]
        assert [value for name, value in received.headers if name == "x-twice"] == ["1", "2"]
        assert received.header("authorization") == "Bearer secret"
        assert received.header("cookie") == "session=1"
        assert received.header("host") == vendor.url.removeprefix("http://")
        assert received.header("x-forwarded-for") == "127.0.0.1"
        assert received.header("content-length") == "2"
        assert received.header("user-agent") == client.headers["user-agent"]
        assert "x-mine" not in names
        assert "te" not in names
        assert "content-type" not in names
        assert (sent.status_code, body) == (418, packed)
        assert sent.headers.get_list("set-cookie") == ["a=1; Path=/", "b=2; Path=/"]
        assert sent.headers["content-length"] == str(len(packed))
        assert "keep-alive" not in sent.headers
        assert len(sent.headers.get_list("date")) == 1
        assert front.count("4xx") == 1


async def test_redirects_are_handed_to_the_client_and_never_followed() -> None:
    async with running_vendor() as vendor, running_vendor() as elsewhere, fronting(vendor.url) as front:
        vendor.behave = status(307, location=f"{elsewhere.url}/api/stolen")
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{front.url}/api/x", headers={"authorization": "Bearer secret"})
        assert answer.status_code == 307
        assert answer.headers["location"] == f"{elsewhere.url}/api/stolen"
        assert elsewhere.received == []


@pytest.mark.parametrize(
    "target", ["//{evil}/api/x", "http://{evil}/api/x", "/api/@{evil}/x", "/api/x?u=http://{evil}/", "/api/\\{evil}"]
)
async def test_no_request_target_reaches_another_host(target: str) -> None:
    async with running_vendor() as vendor, running_vendor() as evil, fronting(vendor.url) as front:
        host = evil.url.removeprefix("http://")
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        line = target.format(evil=host).encode()
        writer.write(b"GET %b HTTP/1.1\r\nhost: %b\r\nconnection: close\r\n\r\n" % (line, host.encode()))
        await reader.read()
        writer.close()
        assert evil.received == []
        assert all(received.header("host") == vendor.url.removeprefix("http://") for received in vendor.received)


@pytest.mark.parametrize("path", ["/api/../admin", "/api/%2e%2e/admin", "/api/x/%2E./y", "/api/./x"])
async def test_a_path_cannot_climb_out_of_the_prefix(path: str) -> None:
    async with running_vendor() as vendor, fronting(f"{vendor.url}/tenant") as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"GET %b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" % path.encode())
        assert (await reader.read()).startswith(b"HTTP/1.1 404")
        writer.close()
        assert vendor.received == []


async def test_a_prefix_is_put_before_the_path() -> None:
    async with running_vendor() as vendor, fronting(f"{vendor.url}/tenant/") as front, httpx.AsyncClient() as client:
        await client.get(f"{front.url}/api/x?a=1")
        assert vendor.received[0].target == "/tenant/api/x?a=1"


async def test_both_ways_stream() -> None:
    seen = asyncio.Event()

    async def echo_as_it_comes(request: web.Request, _body: bytes) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for number in range(3):
            await response.write(b"data: %d\n\n" % number)
            await seen.wait()
            seen.clear()
        return response

    async with running_vendor() as vendor, fronting(vendor.url) as front, httpx.AsyncClient() as client:
        vendor.behave = echo_as_it_comes
        async with client.stream("GET", f"{front.url}/api/stream") as answer:
            chunks = answer.aiter_raw()
            for number in range(3):
                # Each part is here before the vendor writes the next.
                assert await asyncio.wait_for(anext(chunks), 2) == b"data: %d\n\n" % number
                seen.set()


async def test_an_upload_of_unknown_length_arrives_whole() -> None:
    async def parts() -> AsyncIterator[bytes]:
        for number in range(20):
            yield b"%d" % (number % 10) * 50_000

    async with running_vendor() as vendor, fronting(vendor.url) as front, httpx.AsyncClient() as client:
        answer = await client.post(f"{front.url}/api/dataset", content=parts())
        assert answer.status_code == 200
        assert vendor.received[0].body == b"".join([chunk async for chunk in parts()])


async def test_a_body_beyond_the_limit_is_refused_told_or_not() -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(400):
            yield b"x" * 10_000

    async with running_vendor() as vendor, fronting(vendor.url) as front, httpx.AsyncClient() as client:
        told = await client.post(f"{front.url}/api/dataset", content=b"x" * 2_000_001)
        assert told.status_code == 413
        with contextlib.suppress(httpx.TransportError):
            assert (await client.post(f"{front.url}/api/dataset", content=endless())).status_code == 413
        assert vendor.received == []


async def test_a_vendor_that_is_away_is_502_and_one_that_is_slow_504() -> None:
    async with fronting("http://127.0.0.1:9") as front, httpx.AsyncClient() as client:
        answer = await client.get(f"{front.url}/api/x")
        assert answer.status_code == 502
        assert answer.json() == {"error": "Bad Gateway", "message": "The vendor cannot be reached."}
    async with running_vendor() as vendor, fronting(vendor.url) as front, httpx.AsyncClient() as client:
        vendor.behave = slow(5)
        assert (await client.get(f"{front.url}/api/x")).status_code == 504
        vendor.behave = close_without_answer
        assert (await client.get(f"{front.url}/api/x")).status_code == 502


async def test_an_answer_that_ends_in_the_middle_is_never_passed_off_as_whole() -> None:
    async with running_vendor() as vendor, fronting(vendor.url) as front, httpx.AsyncClient() as client:
        vendor.behave = close_in_the_middle
        with pytest.raises(httpx.TransportError):
            await client.get(f"{front.url}/api/x")
        assert front.count("broken") == 1


async def test_too_many_at_once_are_told_so() -> None:
    async with running_vendor() as vendor, fronting(vendor.url) as front, httpx.AsyncClient() as client:
        vendor.behave = slow(0.5)
        answers = await asyncio.gather(*[client.get(f"{front.url}/api/{number}") for number in range(12)])
        codes = [answer.status_code for answer in answers]
        assert codes.count(200) == 5
        assert codes.count(503) == 7


async def test_a_client_that_leaves_frees_its_connection() -> None:
    async with running_vendor() as vendor, fronting(vendor.url, PROXYING._replace(timeout=30)) as front:
        vendor.behave = slow(20)
        for _ in range(5):
            _, writer = await asyncio.open_connection("127.0.0.1", front.port)
            writer.write(b"GET /api/x HTTP/1.1\r\nhost: a\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.close()
        await vendor.wait_for(5)
        deadline = time.monotonic() + 5
        while front.count("gone") < 5 and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        assert front.count("gone") == 5
        assert front.registry.get_sample_value("plaudit_proxy_in_flight", {"source": "langwatch"}) == 0


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
async def test_tunnels_are_refused(method: str) -> None:
    async with running_vendor() as vendor, fronting(vendor.url) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"%b /api/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" % method.encode())
        assert b" 200 " not in await reader.read()
        writer.close()
        assert vendor.received == []


async def test_nothing_is_remembered_between_clients() -> None:
    async def set_cookie(_request: web.Request, _body: bytes) -> web.StreamResponse:
        response = web.Response()
        response.set_cookie("session", "of-the-first")
        return response

    async with running_vendor() as vendor, fronting(vendor.url) as front:
        vendor.behave = set_cookie
        for _ in range(2):
            async with httpx.AsyncClient() as client:
                await client.get(f"{front.url}/api/x")
        assert [received.header("cookie") for received in vendor.received] == [None, None]
