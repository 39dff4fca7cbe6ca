import re
from datetime import UTC, datetime

import pytest
from playwright.async_api import expect

from shared.events import FeedbackEvent
from tests.browser import known
from tests.browser.conftest import Open, Seeded
from tests.browser.site import langwatch

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]


def judged(trace: str, comment: str, project: str = "lively") -> FeedbackEvent:
    return langwatch(project, trace, datetime.now(UTC), metrics={"vote": -1}, details={"feedback": comment})


async def test_what_comes_in_is_shown_as_it_comes(open_page: Open, seeded: Seeded) -> None:
    page = await open_page("/", key=seeded.lively_key)
    items = page.locator("#tail-list li")
    await expect(items).to_have_count(15)
    await expect(page.locator("#tail-state")).to_have_text("Waiting for events as they come in")
    seeded.site.insert([judged("live-1", "Just now, live")])

    await expect(items.first).to_contain_text("Just now, live", timeout=20_000)
    await expect(items).to_have_count(16)


async def test_another_project_s_events_do_not_come(open_page: Open, seeded: Seeded) -> None:
    page = await open_page("/", key=seeded.lively_key)
    await expect(page.locator("#tail-state")).to_have_text("Waiting for events as they come in")
    seeded.site.insert([judged("foreign", "Not for you", known.PROJECT), judged("live-2", "For you")])

    await expect(page.locator("#tail-list li").first).to_contain_text("For you", timeout=20_000)
    await expect(page.locator("#tail-list")).not_to_contain_text("Not for you")


async def test_a_pause_holds_the_list_still_and_counts_what_comes(open_page: Open, seeded: Seeded) -> None:
    page = await open_page("/", key=seeded.lively_key)
    await expect(page.locator("#tail-state")).to_have_text("Waiting for events as they come in")
    pause = page.get_by_role("button", name="Pause")
    await pause.click()
    await expect(pause).to_have_attribute("aria-pressed", "true")
    seeded.site.insert([judged("live-3", "While paused"), judged("live-4", "While paused, too")])

    await expect(page.locator("#tail-state")).to_have_text("Paused, 2 new", timeout=20_000)
    await expect(page.locator("#tail-list")).not_to_contain_text("While paused")
    await pause.click()
    await expect(page.locator("#tail-list li").nth(0)).to_contain_text("While paused")
    await expect(page.locator("#tail-list li").nth(1)).to_contain_text("While paused")


async def test_the_pipeline_is_told_in_one_line(open_page: Open, seeded: Seeded) -> None:
    seeded.site.insert([judged("live-5", "In time")])
    page = await open_page("/", key=seeded.lively_key)

    healthy = re.compile(r"Pipeline healthy\s*0 waiting\s*\d+(\.\d)? s delay\s*0 dead letters")
    await expect(page.locator("#pipeline")).to_have_text(healthy)
    box = await page.locator("#pipeline").bounding_box()
    assert box is not None
    assert box["height"] < 30
