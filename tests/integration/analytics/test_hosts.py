"""Several ClickHouse hosts: the first that answers is asked, and the next when it goes away."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from shared.settings import ClickHouseSettings
from tests.chaos.clickhouse_proxy import ClickHouseProxy
from tests.chaos.proxy import Mode, TcpProxy

from .conftest import Store, analytics_settings, running
from .test_api import AROUND, BEARER, known

pytestmark = pytest.mark.integration

__all__ = ["known"]


def of_hosts(settings: ClickHouseSettings, *ports: int) -> ClickHouseSettings:
    """The same database by other ports of this machine, in this order."""
    url = urlsplit(settings.clickhouse_url.get_secret_value())
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    changed = url._replace(netloc=f"{url.username}:{url.password}@{hosts}").geturl()
    return settings.model_copy(update={"clickhouse_url": SecretStr(changed), "clickhouse_connect_timeout": 1.0})


def port_of(settings: ClickHouseSettings) -> int:
    port = urlsplit(settings.clickhouse_url.get_secret_value()).port
    assert port is not None
    return port


async def test_a_dead_first_host_costs_no_answer(known: Store, redis_url: str) -> None:
    settings = of_hosts(known.settings, 1, port_of(known.settings))
    async with running(settings, redis_url, analytics_settings()) as site:
        answers = await asyncio.gather(*(site.get("/api/summary", **AROUND) for _ in range(4)))
        assert [answer["totals"]["up"] for answer in answers] == [1] * 4
        assert (await site.get("/api/pipeline"))["problems"] == []


async def test_a_host_that_goes_away_is_left_for_the_next(known: Store, redis_url: str) -> None:
    # The proxy of HTTP only names the server as it wants to be named; the others can be cut.
    with (
        ClickHouseProxy(port_of(known.settings)) as server,
        TcpProxy(server.port) as first,
        TcpProxy(server.port) as second,
    ):
        settings = of_hosts(known.settings, first.port, second.port)
        async with running(settings, redis_url, analytics_settings()) as site, asyncio.timeout(30):
            assert (await site.get("/api/summary", **AROUND))["totals"]["up"] == 1
            first.set(Mode.CUT)
            asked = await site.http.get("/api/summary", params=AROUND, headers=BEARER)
            assert asked.status_code in (200, 503), "what was under way may fail, and says so"
            assert (await site.get("/api/summary", **AROUND))["totals"]["up"] == 1
            assert (await site.get("/api/pipeline"))["problems"] == []
