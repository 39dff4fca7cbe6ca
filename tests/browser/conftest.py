"""A Chromium, the real service behind it, and pages that tell on themselves: no test passes with an error on the console."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

from services.standalone.embedded import EmbeddedServer, embedded_valkey
from tests.browser import known, realistic
from tests.browser.site import CHROMIUM, CHROMIUM_ARGS, Site, running_site

EXPECTED_AT_FIRST = re.compile(r"status of 401 .* \S+/api/session$")
"""Asking whether somebody is logged in: the browser itself reports the honest answer."""

NOT_THE_PAGE = re.compile(r"ERR_NETWORK_CHANGED")
"""A network interface came or went on this machine while the page was loading."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CHROMIUM.exists():
        return
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(
                pytest.mark.skip(reason=f"NO CHROMIUM at {CHROMIUM}: the page is NOT tested; apt-get install chromium")
            )


OF_THE_TEST = re.compile(r"willReadFrequently")
"""Looking at the pixels of a canvas is what only tests do."""


@dataclass(frozen=True)
class Seeded:
    """The service with its projects: one hand-made, one as large as life, two empty."""

    site: Site
    known_key: str
    lively_key: str
    empty_key: str
    fresh_key: str
    two_projects_key: str


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory, clickhouse: EmbeddedServer) -> Iterator[Seeded]:
    folder = tmp_path_factory.mktemp("page")
    if not clickhouse.running:
        clickhouse.restart()
    # A Redis of its own: the service goes on refreshing while other tests expect theirs to be empty.
    with embedded_valkey(folder) as (redis_url, _), running_site(folder, clickhouse.url, redis_url) as site:
        keys = {
            "known_key": site.key(known.PROJECT),
            "lively_key": site.key("lively"),
            "empty_key": site.key("empty"),
            "fresh_key": site.key("fresh"),
            "two_projects_key": site.key("lively", site.key(known.PROJECT)),
        }
        known_events = known.events()
        lively = list(realistic.events("lively", known.NOW, days=20, per_day=60))
        site.insert([*known_events, *lively])
        site.wait_for(keys["known_key"], len(known_events))
        site.wait_for(keys["lively_key"], len({event.dedupe_id for event in lively}))
        yield Seeded(site, **keys)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        yield browser
        await browser.close()


@dataclass
class Complaints:
    """What a page said on its console, and what it threw. ``allow``: patterns of what a test provokes."""

    heard: list[str] = field(default_factory=list)
    allowed: list[re.Pattern[str]] = field(default_factory=lambda: [EXPECTED_AT_FIRST, NOT_THE_PAGE, OF_THE_TEST])

    def allow(self, pattern: str) -> None:
        self.allowed.append(re.compile(pattern))

    def listen(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.heard.append(f"thrown: {error}"))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self.heard.append(f"{message.type}: {message.text} {message.location.get('url', '')}")

    @property
    def serious(self) -> list[str]:
        return [line for line in self.heard if not any(pattern.search(line) for pattern in self.allowed)]


@pytest.fixture
def complaints() -> Complaints:
    return Complaints()


Open = Callable[..., Awaitable[Page]]


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(browser: Browser, seeded: Seeded, complaints: Complaints) -> AsyncIterator[Open]:
    """Opens an address in a context of its own, logged in with ``key`` if one is given."""
    contexts = []

    async def open_(path: str = "/", *, key: str | None = None, **options: Any) -> Page:
        wanted: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}, "locale": "en-GB", "timezone_id": "UTC"}
        context = await browser.new_context(**(wanted | options))
        contexts.append(context)
        context.set_default_timeout(15_000)
        if key is not None:
            answer = await context.request.post(f"{seeded.site.url}/api/session", data={"key": key})
            assert answer.status == 204, await answer.text()
        page = await context.new_page()
        complaints.listen(page)
        await page.goto(f"{seeded.site.url}{path}")
        if any(NOT_THE_PAGE.search(line) for line in complaints.heard):
            await page.reload()
        return page

    yield open_
    for context in contexts:
        await context.close()
    assert complaints.serious == []
