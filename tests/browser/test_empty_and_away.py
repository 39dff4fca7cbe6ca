from datetime import UTC, datetime

import pytest
from playwright.async_api import expect

from services.standalone.embedded import EmbeddedServer
from tests.browser import known
from tests.browser.conftest import Complaints, Open, Seeded
from tests.browser.site import INGEST_URL, langwatch

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]


async def test_a_new_project_is_told_how_to_send_its_first_event_and_shows_it_when_it_comes(
    open_page: Open, seeded: Seeded
) -> None:
    page = await open_page("/", key=seeded.fresh_key)

    await expect(page.get_by_role("heading", name="Send the first event")).to_be_visible()
    command = page.locator("#empty pre")
    await expect(command).to_contain_text(f"curl {INGEST_URL}/api/track_event")
    await expect(command).to_contain_text("X-Auth-Token: $KEY")
    await expect(page.locator("#empty")).to_contain_text("plaudit keys add --project fresh --kind langwatch")
    await expect(page.locator("#answers")).to_be_hidden()

    seeded.site.insert([langwatch("fresh", "first", datetime.now(UTC), metrics={"vote": 1})])
    await expect(page.locator(".hero-figure")).to_have_text("100.0\u202f%", timeout=30_000)
    await expect(page.locator("#empty")).to_be_hidden()


async def test_a_period_without_feedback_leads_to_the_newest_there_is(open_page: Open, seeded: Seeded) -> None:
    page = await open_page("/?from=2020-01-01&to=2020-02-01&source=lunary", key=seeded.known_key)
    await expect(page.get_by_role("heading", name="Nothing here")).to_be_visible()
    await page.get_by_role("button", name="Show the 28 days up to it").click()

    await expect(page.locator(".hero-figure")).to_be_visible()
    await expect(page.locator("#said-list")).to_contain_text("Now I do not")


async def test_with_clickhouse_away_the_page_says_so_and_comes_back_by_itself(
    open_page: Open, seeded: Seeded, complaints: Complaints, clickhouse: EmbeddedServer
) -> None:
    complaints.allow("status of 503")
    complaints.allow("ERR_INCOMPLETE_CHUNKED_ENCODING")
    page = await open_page(f"/?{known.PERIOD}", key=seeded.known_key)
    await expect(page.locator(".hero-figure")).to_be_visible()
    clickhouse.kill()
    try:
        await page.get_by_role("radio", name="7 days").check()
        await expect(page.get_by_role("alert").filter(has_text="ClickHouse is away")).to_be_visible(timeout=30_000)
        await expect(page.locator("#notices")).to_contain_text("Feedback is still taken in and kept")
        # What was known stays, and looks old.
        await expect(page.locator(".hero-figure")).to_have_text("45.0\u202f%")
        await expect(page.locator("#answers")).to_have_class("grid stale")
        await expect(page.locator("#pipeline")).to_have_attribute("data-state", "bad", timeout=30_000)
        late = await open_page("/", key=seeded.lively_key)
        await expect(late.locator("#notices")).to_contain_text("ClickHouse is away", timeout=30_000)
    finally:
        clickhouse.restart()
    await page.get_by_role("button", name="Try again now").click()
    await expect(page.locator("#notices")).to_be_empty(timeout=30_000)
    # Whoever came meanwhile sees all that is there, too, what came in live included.
    await expect(late.locator("#tail-list li").nth(14)).to_be_visible(timeout=30_000)
    await expect(late.locator("#pipeline")).to_have_attribute("data-state", "good")
    await page.go_back()
    await expect(page.locator(".hero-figure")).to_have_text("45.0\u202f%")
    await expect(page.locator("#answers")).to_have_class("grid", timeout=30_000)


async def test_without_the_service_the_page_says_so_and_recovers(
    open_page: Open, seeded: Seeded, complaints: Complaints
) -> None:
    complaints.allow("ERR_INTERNET_DISCONNECTED")
    page = await open_page(f"/?{known.PERIOD}", key=seeded.known_key)
    await expect(page.locator(".hero-figure")).to_be_visible()
    await page.context.set_offline(True)
    await page.get_by_role("radio", name="7 days").check()
    await expect(page.locator("#notices")).to_contain_text("No answer from the analytics service")

    await page.context.set_offline(False)
    await expect(page.locator("#notices")).to_be_empty(timeout=20_000)
