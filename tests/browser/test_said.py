from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import expect

from tests.browser import known
from tests.browser.conftest import Complaints, Open, Seeded
from tests.browser.test_filters import query

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]


async def test_the_newest_bad_answers_come_first_with_what_people_wrote(open_page: Open, seeded: Seeded) -> None:
    page = await open_page("/", key=seeded.known_key)
    articles = page.locator("#said-list article")
    await expect(articles.first).to_contain_text("Now I do not")

    texts = await articles.locator("blockquote").all_inner_texts()
    assert set(texts[:3]) == {"Now I do not", "Lunary says hello", known.HOSTILE}
    assert texts[3] == "Bad answer 3.7"
    assert "First I liked it" not in texts


async def test_older_ones_follow_page_by_page_and_none_twice(open_page: Open, seeded: Seeded) -> None:
    page = await open_page("/?vote=any&comment=any", key=seeded.known_key)
    articles = page.locator("#said-list article")
    more = page.get_by_role("button", name="Show older")
    await expect(articles).to_have_count(10)
    await more.click()
    await expect(articles).to_have_count(20)
    await expect(articles.nth(10).get_by_role("link", name="Story")).to_be_focused()
    await more.click()
    await expect(articles).to_have_count(29)
    await expect(more).to_be_hidden()

    stories = await articles.get_by_role("link", name="Story").evaluate_all("all => all.map(a => a.dataset.key)")
    assert len(set(stories)) == 29


async def test_a_search_finds_comments_by_any_part(open_page: Open, seeded: Seeded) -> None:
    page = await open_page("/", key=seeded.known_key)
    await page.get_by_label("Search the comments").fill("ANSWER 0")
    await page.keyboard.press("Enter")

    await expect(page.locator("#said-list article")).to_have_count(1)
    await expect(page.locator("#said-list")).to_contain_text("Bad answer 0.0")


async def test_what_people_wrote_is_never_read_as_html(open_page: Open, seeded: Seeded) -> None:
    page = await open_page("/?trace=hostile&by=detail:%3Ci%3Ekey%3C/i%3E", key=seeded.known_key)
    await expect(page.locator("#story blockquote").first).to_have_text(known.HOSTILE)
    await page.keyboard.press("Escape")

    await expect(page.locator("#said-list")).to_contain_text(known.HOSTILE)
    await expect(page.locator("#breakdown tbody")).to_contain_text("<u>value</u>")
    assert await page.locator("#dashboard img, #dashboard b b, #dashboard u, #story img, #story u").count() == 0
    assert await page.title() == "Plaudit"


async def test_a_story_tells_what_holds_and_all_that_was_sent_in_order(open_page: Open, seeded: Seeded) -> None:
    page = await open_page("/", key=seeded.known_key)
    await page.locator("#said-list article").first.get_by_role("link", name="Story").click()

    story = page.get_by_role("dialog")
    await expect(story).to_be_visible()
    assert query(page)["trace"] == known.STORY
    await expect(story.get_by_label("What holds now")).to_contain_text("Now I do not")
    items = story.locator(".history > li")
    await expect(items).to_have_count(2)
    await expect(items.nth(0)).to_contain_text("First I liked it")
    await expect(items.nth(1)).to_contain_text("Now I do not")
    await items.nth(0).locator("summary").click()
    await expect(items.nth(0).locator("pre")).to_contain_text('"feedback": "First I liked it"')


async def test_a_story_closes_by_escape_button_and_back_and_gives_the_focus_back(
    open_page: Open, seeded: Seeded
) -> None:
    page = await open_page("/", key=seeded.known_key)
    link = page.locator("#said-list article").first.get_by_role("link", name="Story")
    story = page.get_by_role("dialog")
    ways: list[Callable[[], Awaitable[object]]] = [
        lambda: page.keyboard.press("Escape"),
        story.get_by_role("button", name="Close").click,
        page.go_back,
    ]
    for leave in ways:
        await link.focus()
        await page.keyboard.press("Enter")
        await expect(story).to_be_visible()
        await leave()
        await expect(story).to_be_hidden()
        assert "trace" not in query(page)
        await expect(link).to_be_focused()


async def test_an_address_of_a_story_opens_it(open_page: Open, seeded: Seeded) -> None:
    page = await open_page("/", key=seeded.known_key)
    address = await page.locator("#said-list article").first.get_by_role("link", name="Story").get_attribute("href")
    other = await open_page(f"/{address}", key=seeded.known_key)

    await expect(other.get_by_role("dialog").get_by_label("What holds now")).to_contain_text("Now I do not")


async def test_a_story_of_a_trace_that_nobody_judged_says_so(
    open_page: Open, seeded: Seeded, complaints: Complaints
) -> None:
    complaints.allow("status of 404 .*/api/traces/nothing")
    page = await open_page("/?trace=nothing", key=seeded.known_key)

    await expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("No feedback on this trace")


async def test_the_export_links_ask_for_just_what_is_listed(open_page: Open, seeded: Seeded) -> None:
    page = await open_page(f"/?{known.PERIOD}", key=seeded.known_key)
    await expect(page.locator("#said-list article")).to_have_count(9)
    address = await page.get_by_role("link", name="NDJSON").get_attribute("href")
    answer = await page.context.request.get(f"{seeded.site.url}{address}")

    assert answer.status == 200
    assert len((await answer.text()).splitlines()) == 9
