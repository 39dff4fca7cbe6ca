from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Page, expect

from tests.browser import known
from tests.browser.conftest import Open, Seeded

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]


def query(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


async def test_what_an_address_says_is_what_is_shown(open_page: Open, seeded: Seeded) -> None:
    page = await open_page(
        f"/?{known.LONGER}&source=lunary&type=feedback&by=source&order=worst&vote=any&comment=any&search=hello",
        key=seeded.known_key,
    )

    await expect(page.get_by_role("combobox", name="Source", exact=True)).to_have_value("lunary")
    await expect(page.get_by_role("combobox", name="Event type")).to_have_value("feedback")
    await expect(page.get_by_role("combobox", name="Per", exact=True)).to_have_value("day")
    await expect(page.get_by_label("Break down by")).to_have_value("source")
    await expect(page.get_by_label("Order")).to_have_value("worst")
    await expect(page.get_by_role("radio", name="Custom")).to_be_checked()
    await expect(page.get_by_label("From")).to_have_value(known.FIRST_DAY.strftime("%Y-%m-%dT00:00"))
    await expect(page.get_by_role("radio", name="All", exact=True)).to_be_checked()
    await expect(page.get_by_label("With a comment")).not_to_be_checked()
    await expect(page.get_by_label("Search the comments")).to_have_value("hello")


async def test_what_is_chosen_goes_into_the_address_and_the_back_button_takes_it_back(
    open_page: Open, seeded: Seeded
) -> None:
    page = await open_page("/", key=seeded.lively_key)
    await expect(page.locator(".hero-figure")).to_be_visible()
    await page.get_by_role("radio", name="7 days").check()
    await page.get_by_role("combobox", name="Source", exact=True).select_option("langwatch")
    await page.get_by_role("combobox", name="Event type").select_option("thumbs_up_down")
    await page.get_by_label("Break down by").select_option("source")
    await page.get_by_role("radio", name="Good").check()
    await page.get_by_label("Search the comments").fill("nobody wrote this")
    await page.keyboard.press("Enter")

    chosen = {"range": "7d", "source": "langwatch", "type": "thumbs_up_down", "by": "source", "vote": "up"}
    assert query(page) == chosen | {"search": "nobody wrote this"}
    await expect(page.locator("#said-list")).to_have_text("No good answers with “nobody wrote this” in this period.")

    await page.go_back()
    assert query(page) == chosen
    await expect(page.get_by_label("Search the comments")).to_have_value("")
    for _ in range(5):
        await page.go_back()
    assert query(page) == {}
    await expect(page.get_by_role("radio", name="28 days")).to_be_checked()
    await expect(page.get_by_role("combobox", name="Source", exact=True)).to_have_value("")
    await page.go_forward()
    await expect(page.get_by_role("radio", name="7 days")).to_be_checked()


async def test_filters_narrow_every_part_of_the_page(open_page: Open, seeded: Seeded) -> None:
    page = await open_page("/", key=seeded.known_key)
    await expect(page.locator("#said-list")).to_contain_text("Lunary says hello")
    await page.get_by_role("combobox", name="Source", exact=True).select_option("langwatch")

    await expect(page.locator("#said-list")).not_to_contain_text("Lunary says hello")
    await expect(page.locator("#tail-list")).not_to_contain_text("Lunary says hello")
    await page.get_by_role("combobox", name="Source", exact=True).select_option("lunary")
    await expect(page.locator("#said-list article")).to_have_count(1)
    await expect(page.locator("#counts")).to_contain_text("Answers judged1")
    await expect(page.locator(".hero-figure")).to_have_text("0.0\u202f%")


async def test_a_period_of_ones_own_is_shown_and_kept(open_page: Open, seeded: Seeded) -> None:
    page = await open_page("/", key=seeded.known_key)
    await page.get_by_role("radio", name="Custom").check()
    await expect(page.get_by_label("From")).to_be_focused()
    await page.get_by_label("From").fill(known.FIRST_DAY.strftime("%Y-%m-%dT00:00"))
    await page.get_by_label("To", exact=True).fill(known.FIRST_DAY.strftime("%Y-%m-%dT00:00"))
    await page.get_by_role("button", name="Show", exact=True).click()
    await expect(page.locator("#custom-error")).to_have_text("The end must be after the start.")

    await page.get_by_label("To", exact=True).fill(known.FIRST_DAY.strftime("%Y-%m-%dT23:59"))
    await page.get_by_role("button", name="Show", exact=True).click()
    await expect(page.locator(".hero-figure")).to_have_text("75.0\u202f%")
    assert query(page)["from"] == known.FIRST_DAY.strftime("%Y-%m-%dT00:00:00.000Z")
    await page.reload()
    await expect(page.locator(".hero-figure")).to_have_text("75.0\u202f%")


@pytest.mark.parametrize(
    "nonsense",
    ["range=eternity", "from=x&to=y", "from=2026-02-02&to=2026-01-01", "tz=Mars/Base", "vote=sideways", "interval=era"],
)
async def test_an_address_that_means_nothing_shows_the_usual_view(
    open_page: Open, seeded: Seeded, nonsense: str
) -> None:
    page = await open_page(f"/?{nonsense}", key=seeded.known_key)

    await expect(page.locator(".hero-figure")).to_be_visible()
    await expect(page.get_by_role("radio", name="28 days")).to_be_checked()


async def test_a_copied_link_shows_the_same_instants_in_the_same_time_zone(open_page: Open, seeded: Seeded) -> None:
    page = await open_page(
        "/?range=7d", key=seeded.lively_key, timezone_id="Asia/Tokyo", permissions=["clipboard-read", "clipboard-write"]
    )
    await expect(page.locator(".hero-figure")).to_be_visible()
    await page.get_by_role("button", name="Copy link").click()
    await expect(page.locator("#copy-link")).to_have_text("Copied")
    link = await page.evaluate("navigator.clipboard.readText()")

    told = {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}
    assert told["tz"] == "Asia/Tokyo"
    assert set(told) == {"from", "to", "tz", "range"}
    elsewhere = await open_page(f"/?{urlsplit(link).query}", key=seeded.lively_key, timezone_id="America/Lima")
    await expect(elsewhere.locator("#fresh")).to_have_attribute("title", "Times are in Asia/Tokyo")


async def test_a_group_of_the_breakdown_leads_to_its_events(open_page: Open, seeded: Seeded) -> None:
    page = await open_page("/?by=user_id&vote=any&comment=any", key=seeded.known_key)
    await page.locator("#breakdown").get_by_role("link", name="user-un").click()

    assert query(page)["user"] == "user-un"
    await expect(page.locator("#said-list article")).to_have_count(2)
    await page.get_by_role("button", name="All users").click()
    assert "user" not in query(page)


async def test_a_key_of_two_projects_offers_both_and_shows_one(open_page: Open, seeded: Seeded) -> None:
    page = await open_page("/", key=seeded.two_projects_key)
    project = page.get_by_role("combobox", name="Project")
    await expect(project).to_have_value("known")
    await expect(page.locator("#said-list")).to_contain_text("Lunary says hello")
    await project.select_option("lively")

    await expect(page.locator("#said-list article").first).to_be_visible()
    await expect(page.locator("#said-list")).not_to_contain_text("Lunary says hello")
    assert query(page) == {"project": "lively"}
    await page.locator("#said-list .story-link").first.click()
    await expect(page.locator("#story .history li").first).to_be_visible()
    await page.reload()
    await expect(project).to_have_value("lively")


async def test_a_project_that_the_key_is_not_for_is_not_asked_about(open_page: Open, seeded: Seeded) -> None:
    page = await open_page("/?project=lively", key=seeded.known_key)

    await expect(page.locator("#project")).to_have_text("known")
    await expect(page.locator("#said-list")).to_contain_text("Lunary says hello")
