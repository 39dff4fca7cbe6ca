"""The browser build of npm's ``lunary`` in a real Chromium, on a page of another origin."""

from __future__ import annotations

import asyncio
import functools
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, async_playwright

from tests.support.up_stack import Ready

pytestmark = [pytest.mark.sdk, pytest.mark.browser, pytest.mark.integration]

_CHROMIUM = Path("/usr/bin/chromium")
_CHROMIUM_ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
_PAGE = b"""<!doctype html><title>shop</title><link rel="icon" href="data:,">
<script type="module">import lunary from "./browser.js"; window.lunary = lunary;</script>"""

_FEEDBACK = "SELECT vote, comment, user_id FROM feedback_events FINAL WHERE trace_id = {trace:String}"
_CURRENT = "SELECT vote, comment, events FROM feedback_current WHERE trace_id = {trace:String}"


class _Files(SimpleHTTPRequestHandler):
    """The SDK's own modules, and one page that uses them."""

    def do_GET(self) -> None:
        if self.path != "/":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(_PAGE)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name that the library gives it
        """Says nothing."""


@pytest.fixture(scope="module")
def shop(npm_lunary: Path) -> Iterator[str]:
    """The URL of an application's page."""
    if not _CHROMIUM.exists():
        pytest.skip(f"NO CHROMIUM at {_CHROMIUM}: Lunary's browser SDK is NOT tested; apt-get install chromium")
    files = functools.partial(_Files, directory=str(npm_lunary / "node_modules" / "lunary" / "dist"))
    with ThreadingHTTPServer(("127.0.0.1", 0), files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


@pytest_asyncio.fixture
async def page(shop: str, stack: Ready) -> AsyncIterator[Page]:
    """The page with its SDK pointed at the stack. No test passes with an error on its console."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=_CHROMIUM, args=_CHROMIUM_ARGS)
        page = await browser.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(shop)
        await page.wait_for_function("window.lunary")
        await page.evaluate(
            "([apiUrl, publicKey]) => lunary.init({ apiUrl, publicKey })",
            [stack.ingest_url, stack.keys["lunary_public"]],
        )
        yield page
        await browser.close()
        assert complaints == []


@pytest.fixture
def run_id() -> str:
    return str(uuid.uuid4())


async def test_a_click_on_another_origin_arrives(page: Page, stack: Ready, run_id: str) -> None:
    program = """id => {
        lunary.identify('ann', { name: 'Ann' });
        lunary.trackFeedback(id, { thumb: 'up' });
        lunary.trackFeedback(id, { comment: 'schön' });
        lunary.trackFeedback(id, { thumb: null });
    }"""
    async with page.expect_response("**/v1/runs/ingest") as answered:
        await page.evaluate(program, run_id)
    answer = await answered.value
    assert answer.status == 200
    assert await answer.json() == {"results": [{"id": run_id, "success": True}] * 3}
    rows = await asyncio.to_thread(stack.wait_for_rows, _FEEDBACK, 3, trace=run_id)
    assert {row[2] for row in rows} == {"ann"}
    assert stack.rows(_CURRENT, trace=run_id) == [(0.0, "schön", 3)]


async def test_a_page_reads_back_what_it_said(page: Page, stack: Ready, run_id: str) -> None:
    async with page.expect_response("**/v1/runs/ingest"):
        await page.evaluate("id => lunary.trackFeedback(id, { thumb: 'down', stars: 2 })", run_id)
    await asyncio.to_thread(stack.wait_for_rows, _FEEDBACK, 1, trace=run_id)
    assert await page.evaluate("id => lunary.getFeedback(id)", run_id) == {"thumb": "down", "stars": 2}


async def test_a_burst_of_250_from_a_page_arrives_whole_and_once(page: Page, stack: Ready, run_id: str) -> None:
    burst = "id => { for (let n = 0; n < 250; n++) lunary.trackFeedback(`${id}/${n}`, { thumb: 'up', rank: n }); }"
    await page.evaluate(burst, run_id)
    query = "SELECT metrics['rank'] FROM feedback_events FINAL WHERE startsWith(trace_id, {t:String})"
    rows = await asyncio.to_thread(stack.wait_for_rows, query, 250, t=run_id)
    assert sorted(row[0] for row in rows) == [float(number) for number in range(250)]
