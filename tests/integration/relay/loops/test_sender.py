"""The relay's sender against a vendor that misbehaves in every way it can."""

from __future__ import annotations

import asyncio
import time

import pytest

from services.standalone.process import free_port
from tests.support.vendor import (
    accept,
    close_in_the_middle,
    close_without_answer,
    running_vendor,
    slow,
    status,
)

from .rigs import SENDING, relaying

pytestmark = pytest.mark.integration


async def test_a_request_arrives_byte_for_byte_with_the_credentials_of_its_client() -> None:
    async with running_vendor() as vendor, relaying(vendor.url) as relay:
        relay.offer(b'{"a": "\xc3\xa9 \\u00e9"}')
        (received,) = await vendor.wait_for(1)
        assert (received.method, received.target) == ("POST", "/v1/runs/ingest?x=1&y=%20")
        assert received.body == b'{"a": "\xc3\xa9 \\u00e9"}'
        assert received.headers == [
            ("host", vendor.url.removeprefix("http://")),
            ("content-length", "18"),
            ("authorization", "Bearer secret"),
            ("x-odd", "\xff\xfe"),
            ("content-type", "application/json"),
        ]


async def test_many_requests_and_large_bodies_arrive_once_each() -> None:
    async with running_vendor() as vendor, relaying(vendor.url, queue_bytes=100_000_000) as relay:
        sent = [b"%d " % number + b"x" * (number * 9000 % 400_000) for number in range(200)]
        for body in sent:
            relay.offer(body)
        await relay.settled(30)
        assert sorted(received.body for received in vendor.received) == sorted(sent)
        assert relay.sender.state.relayed == 200
        assert relay.sender.state.queued_bytes == 0


async def test_a_refused_request_is_not_offered_again() -> None:
    async with running_vendor() as vendor, relaying(vendor.url) as relay:
        vendor.behave = status(401)
        relay.offer()
        await relay.settled()
        assert len(vendor.received) == 1
        assert relay.dropped("refused") == 1


@pytest.mark.parametrize("code", [429, 503])
async def test_a_request_that_was_not_taken_is_offered_again_until_it_is(code: int) -> None:
    async with running_vendor() as vendor, relaying(vendor.url) as relay:
        vendor.behave = status(code, **{"retry-after": "0"})
        relay.offer()
        await vendor.wait_for(2)
        vendor.behave = accept
        await relay.settled()
        assert relay.sender.state.relayed == 1
        assert relay.sender.state.dropped == 0


async def test_tries_are_bounded() -> None:
    async with running_vendor() as vendor, relaying(vendor.url) as relay:
        vendor.behave = status(429)
        relay.offer()
        await relay.settled()
        assert len(vendor.received) == SENDING.tries
        assert relay.dropped("refused") == 1


async def test_a_request_whose_answer_is_lost_is_not_sent_twice() -> None:
    async with running_vendor() as vendor, relaying(vendor.url) as relay:
        vendor.behave = close_without_answer
        for _ in range(10):
            relay.offer()
        await relay.settled()
        assert len(vendor.received) == 10
        assert relay.dropped("unanswered") == 10


async def test_an_answer_that_ends_in_the_middle_counts_by_its_status() -> None:
    async with running_vendor() as vendor, relaying(vendor.url) as relay:
        vendor.behave = close_in_the_middle
        relay.offer()
        relay.offer()
        await relay.settled()
        assert len(vendor.received) == 2
        assert relay.sender.state.relayed == 2


async def test_a_failing_vendor_loses_each_request_once_and_no_more() -> None:
    async with running_vendor() as vendor, relaying(vendor.url) as relay:
        vendor.behave = status(500)
        for _ in range(5):
            relay.offer()
        await relay.settled()
        assert len(vendor.received) == 5
        assert relay.dropped("failed") == 5


async def test_a_slow_vendor_costs_its_time_limit_and_then_the_request() -> None:
    async with running_vendor() as vendor, relaying(vendor.url, SENDING._replace(timeout=0.1)) as relay:
        vendor.behave = slow(5)
        relay.offer()
        await relay.settled(2)
        assert relay.dropped("unanswered") == 1
        vendor.behave = accept
        relay.offer()
        await relay.settled(2)
        assert relay.sender.state.relayed == 1


async def test_offering_to_a_vendor_that_does_not_answer_is_bounded_in_bytes_and_waits_for_nothing() -> None:
    async with running_vendor() as vendor, relaying(vendor.url, queue_bytes=100_000) as relay:
        vendor.behave = slow(1)
        began = time.monotonic()
        for _ in range(1000):
            relay.offer(b"x" * 1000)
            assert relay.sender.state.queued_bytes <= 100_000
        assert time.monotonic() - began < 0.5
        assert relay.dropped("full") == 1000 - relay.sender.state.queued
        assert relay.sender.state.queued > 50


async def test_a_vendor_that_is_away_is_left_alone_and_gets_everything_when_it_is_back() -> None:
    port = free_port()
    async with relaying(f"http://127.0.0.1:{port}", SENDING._replace(tries=50), failures=3) as relay:
        for number in range(20):
            relay.offer(b"%d" % number)
        async with asyncio.timeout(5):
            while not relay.sender.state.open:
                await asyncio.sleep(0.005)
        async with running_vendor(port) as vendor:
            await relay.settled()
            assert sorted(received.body for received in vendor.received) == sorted(b"%d" % n for n in range(20))
        state = relay.sender.state
        assert (state.open, state.dropped) == (False, 0)


async def test_while_the_breaker_is_open_only_single_requests_try() -> None:
    async with running_vendor() as vendor, relaying(vendor.url, failures=3) as relay:
        vendor.behave = status(500)
        for _ in range(500):
            relay.offer()
        await asyncio.sleep(0.5)
        assert relay.sender.state.open
        assert len(vendor.received) < 30
        vendor.behave = accept
        await relay.settled()
        assert relay.sender.state.relayed == 500 - relay.dropped("failed")


async def test_what_is_too_old_is_dropped_and_counted() -> None:
    async with running_vendor() as vendor, relaying(vendor.url, failures=1, age=0.2) as relay:
        vendor.behave = status(500)
        for _ in range(50):
            relay.offer()
        await relay.settled()
        vendor.behave = accept
        assert relay.dropped("expired") > 30
        assert relay.dropped("expired") + relay.dropped("failed") == 50


async def test_what_waits_is_sent_when_the_process_ends_and_what_cannot_be_is_counted() -> None:
    async with running_vendor() as vendor:
        async with relaying(vendor.url) as relay:
            vendor.behave = slow(0.02)
            for _ in range(50):
                relay.offer()
        assert len(vendor.received) == 50
        async with relaying(vendor.url, SENDING._replace(drain=0.2)) as relay:
            vendor.behave = slow(30)
            for _ in range(50):
                relay.offer()
        assert relay.dropped("closing") == 50


async def test_a_connection_that_was_idle_for_too_long_is_not_used_again() -> None:
    async with running_vendor() as vendor, relaying(vendor.url, SENDING._replace(lanes=1, idle=0.05)) as relay:
        for pause in (0.0, 0.1, 0.0):
            relay.offer()
            await relay.settled()
            await asyncio.sleep(pause)
        first, second, third = [received.client_port for received in vendor.received]
        assert first == second != third
