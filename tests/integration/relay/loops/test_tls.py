"""Vendors behind TLS, as the real ones are: trusted by name and authority, or not spoken to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from aiohttp import web

from tests.support.tls import Authority, ServerTls
from tests.support.vendor import accept, close_in_the_middle, running_vendor, serving, slow, status

from .rigs import PROXYING, SENDING, fronting, relaying

pytestmark = pytest.mark.integration


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture(params=["unknown authority", "another name", "expired"])
def untrusted(request: pytest.FixtureRequest, authority: Authority, tmp_path: Path) -> ServerTls:
    if request.param == "another name":
        return authority.server("vendor.example")
    if request.param == "expired":
        return authority.server(until=datetime.now(UTC) - timedelta(days=1))
    (tmp_path / "other").mkdir()
    return Authority(tmp_path / "other").server()


@contextlib.asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """Takes connections and never says a word: a TLS handshake with it does not end."""
    connected: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: connected.append(writer), "127.0.0.1", 0)
    try:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in connected:
            writer.close()


async def test_relayed_requests_go_through_tls_to_the_name_of_the_upstream_on_one_connection(
    authority: Authority,
) -> None:
    tls = authority.server()
    async with (
        running_vendor(tls=tls) as vendor,
        relaying(vendor.url, SENDING._replace(lanes=1), ca_file=authority.file) as relay,
    ):
        bodies = [b"small", b"x" * 3_000_000, b"small again"]
        for body in bodies:
            relay.offer(body)
        await relay.settled()
        assert [received.body for received in vendor.received] == bodies
        assert {received.header("host") for received in vendor.received} == {vendor.url.removeprefix("https://")}
        assert tls.asked == ["localhost"]
        assert relay.sender.state.relayed == 3


async def test_many_requests_take_no_more_handshakes_than_lanes(authority: Authority) -> None:
    tls = authority.server()
    async with running_vendor(tls=tls) as vendor, relaying(vendor.url, ca_file=authority.file) as relay:
        for number in range(200):
            relay.offer(b"%d" % number)
        await relay.settled()
        assert sorted(received.body for received in vendor.received) == sorted(b"%d" % n for n in range(200))
        assert len(tls.asked) <= SENDING.lanes


async def test_nothing_is_relayed_to_a_certificate_that_does_not_verify(
    authority: Authority, untrusted: ServerTls
) -> None:
    async with running_vendor(tls=untrusted) as vendor, relaying(vendor.url, ca_file=authority.file) as relay:
        for _ in range(3):
            relay.offer()
        await relay.settled()
        assert vendor.received == []
        assert relay.dropped("untrusted") == 3
        assert relay.sender.state.dropped == 3


async def test_without_the_setting_only_the_systems_authorities_are_trusted(authority: Authority) -> None:
    async with running_vendor(tls=authority.server()) as vendor, relaying(vendor.url) as relay:
        relay.offer()
        await relay.settled()
        assert vendor.received == []
        assert relay.dropped("untrusted") == 1


async def test_a_vendor_that_speaks_no_tls_is_never_spoken_to_without(authority: Authority) -> None:
    async with running_vendor() as vendor:
        url = vendor.url.replace("http://127.0.0.1", "https://localhost")
        async with relaying(url, ca_file=authority.file) as relay, fronting(url, ca_file=authority.file) as front:
            relay.offer()
            async with httpx.AsyncClient() as client:
                assert (await client.get(f"{front.url}/api/x")).status_code == 502
            await relay.settled()
            assert relay.dropped("unreachable") == 1
        assert vendor.received == []


async def test_a_handshake_that_does_not_end_costs_its_time_limit() -> None:
    limits = SENDING._replace(tries=1, connect_timeout=0.2)
    proxying = PROXYING._replace(connect_timeout=0.2, timeout=30)
    async with silent_server() as url, relaying(url, limits) as relay, fronting(url, proxying) as front:
        relay.offer()
        async with httpx.AsyncClient(timeout=5) as client:
            assert (await client.get(f"{front.url}/api/x")).status_code == 504
        await relay.settled(5)
        assert relay.dropped("unreachable") == 1


async def test_a_redirect_is_a_refusal_and_not_followed(authority: Authority) -> None:
    async with (
        running_vendor(tls=authority.server()) as vendor,
        running_vendor() as elsewhere,
        relaying(vendor.url, ca_file=authority.file) as relay,
        fronting(vendor.url, ca_file=authority.file) as front,
        httpx.AsyncClient() as client,
    ):
        vendor.behave = status(308, location=f"{elsewhere.url}/api/stolen")
        relay.offer()
        await relay.settled()
        assert relay.dropped("refused") == 1
        answer = await client.post(f"{front.url}/api/x", headers={"authorization": "Bearer secret"})
        assert (answer.status_code, answer.headers["location"]) == (308, f"{elsewhere.url}/api/stolen")
        assert len(vendor.received) == 2
        assert elsewhere.received == []


async def test_an_answer_over_tls_that_ends_in_the_middle_counts_by_its_status_and_one_that_is_late_does_not(
    authority: Authority,
) -> None:
    limits = SENDING._replace(timeout=0.2)
    async with (
        running_vendor(tls=authority.server()) as vendor,
        relaying(vendor.url, limits, ca_file=authority.file) as relay,
    ):
        vendor.behave = close_in_the_middle
        relay.offer()
        await relay.settled()
        assert relay.sender.state.relayed == 1
        vendor.behave = slow(5)
        relay.offer()
        await relay.settled(3)
        assert relay.dropped("unanswered") == 1
        vendor.behave = accept
        relay.offer()
        await relay.settled()
        assert relay.sender.state.relayed == 2


async def test_proxied_requests_go_through_tls_to_the_name_of_the_upstream_on_one_connection(
    authority: Authority,
) -> None:
    tls = authority.server()
    async with (
        running_vendor(tls=tls) as vendor,
        fronting(vendor.url, ca_file=authority.file) as front,
        httpx.AsyncClient() as client,
    ):
        for number in range(5):
            answer = await client.put(f"{front.url}/api/prompts/a%2Fb?n={number}", content=b"{}")
            assert answer.json() == {"message": "Event tracked"}
        assert [received.target for received in vendor.received] == [f"/api/prompts/a%2Fb?n={n}" for n in range(5)]
        assert {received.header("host") for received in vendor.received} == {vendor.url.removeprefix("https://")}
        assert tls.asked == ["localhost"]


async def test_a_route_of_a_vendor_whose_certificate_does_not_verify_is_502_and_nothing_was_sent(
    authority: Authority, untrusted: ServerTls
) -> None:
    async with (
        running_vendor(tls=untrusted) as vendor,
        fronting(vendor.url, ca_file=authority.file) as front,
        httpx.AsyncClient() as client,
    ):
        answer = await client.get(f"{front.url}/api/x", headers={"authorization": "Bearer secret"})
        assert answer.status_code == 502
        assert answer.json() == {"error": "Bad Gateway", "message": "The vendor cannot be reached."}
        assert vendor.received == []


async def test_both_ways_stream_through_tls_at_once(authority: Authority) -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async for chunk in request.content.iter_any():
            await response.write(chunk.upper())
        return response

    async with (
        serving(echo, tls=authority.server()) as url,
        fronting(url, PROXYING._replace(timeout=5), ca_file=authority.file) as front,
        asyncio.timeout(20),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"POST /api/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        for number in range(3):
            # The vendor's word on each part is here before the next part is sent.
            part = b"part %d" % number
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            await reader.readuntil(part.upper())
        writer.write(b"0\r\n\r\n")
        assert (await reader.readuntil(b"0\r\n\r\n")).endswith(b"0\r\n\r\n")
        writer.close()
