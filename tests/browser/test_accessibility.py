import re
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Page, expect

from tests.browser.conftest import Complaints, Open, Seeded

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]

PHONE: dict[str, Any] = {"viewport": {"width": 375, "height": 812}, "has_touch": True, "is_mobile": True}
WIDE: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}}
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
}


async def violations(page: Page) -> list[str]:
    found = await Axe().run(page, options=RULES)
    return [
        f"{violation['id']}: {violation['help']}: {[node['target'] for node in violation['nodes']]}"
        for violation in found.response["violations"]
    ]


async def filled(page: Page) -> None:
    await expect(page.locator("#trend-chart canvas")).to_be_visible()
    await expect(page.locator("#breakdown tbody tr").first).to_be_visible()
    await expect(page.locator("#said-list article").first).to_be_visible()
    await expect(page.locator("#tail-list li").first).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
async def test_axe_finds_nothing_on_the_page(
    open_page: Open, seeded: Seeded, size: dict[str, Any], scheme: str
) -> None:
    page = await open_page("/?by=user_id", key=seeded.lively_key, color_scheme=scheme, **size)
    await filled(page)
    for summary in await page.locator(".table-alternative summary").all():
        await summary.click()
    assert await violations(page) == []

    await page.locator("#said-list .story-link").first.click()
    await expect(page.locator("#story .history li").first).to_be_visible()
    assert await violations(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_on_the_log_in_and_the_empty_page(open_page: Open, seeded: Seeded, scheme: str) -> None:
    page = await open_page("/", color_scheme=scheme)
    await expect(page.get_by_label("Read key")).to_be_visible()
    assert await violations(page) == []

    page = await open_page("/", key=seeded.empty_key, color_scheme=scheme)
    await expect(page.locator("#empty pre")).to_be_visible()
    assert await violations(page) == []


@pytest.mark.parametrize("width", [320, 375, 768, 1024, 1440, 1920])
async def test_nothing_sticks_out_at_the_side(open_page: Open, seeded: Seeded, width: int) -> None:
    page = await open_page("/?by=user_id", key=seeded.lively_key, viewport={"width": width, "height": 800})
    await filled(page)

    assert await page.evaluate("document.documentElement.scrollWidth") <= width


async def test_the_whole_page_can_be_used_without_a_mouse(open_page: Open, seeded: Seeded) -> None:
    page = await open_page("/", key=seeded.lively_key)
    await filled(page)
    press = page.keyboard.press

    await press("Tab")
    await expect(page.get_by_role("link", name="Skip to the answers")).to_be_focused()
    await press("Enter")
    await press("Tab")
    await expect(page.get_by_role("radio", name="28 days")).to_be_focused()
    await press("ArrowLeft")
    await expect(page).to_have_url(re.compile("range=7d"))
    await expect(page.get_by_role("radio", name="7 days")).to_be_checked()

    reached = []
    for _ in range(60):
        await press("Tab")
        focused = await page.evaluate(
            """(() => {
              const element = document.activeElement, style = getComputedStyle(element);
              const shown = element.type === "radio" ? getComputedStyle(element.nextElementSibling) : style;
              const box = element.getBoundingClientRect();
              return { id: element.id || element.name || element.className || element.tagName,
                       outline: shown.outlineStyle !== "none" && parseFloat(shown.outlineWidth) >= 2,
                       inView: box.bottom > 0 && box.top < innerHeight };
            })()"""
        )
        if focused["id"] == "BODY":
            break
        reached.append(focused["id"])
        assert focused["outline"], f"the focus cannot be seen on {focused['id']}"
        assert focused["inView"], f"{focused['id']} has the focus and is not in view"
    order = ["source", "event-type", "interval", "copy-link", "breakdown-by", "breakdown-order"]
    order += [
        "export-csv",
        "vote",
        "said-comment",
        "said-search",
        "story-link",
        "said-more",
        "tail-pause",
        "tail-scroll",
    ]
    places = [reached.index(name) for name in order]
    assert places == sorted(places)


async def test_landmarks_and_headings_give_the_page_its_outline(open_page: Open, seeded: Seeded) -> None:
    page = await open_page("/", key=seeded.lively_key)
    await filled(page)

    for role in ("banner", "main", "contentinfo"):
        await expect(page.get_by_role(role)).to_have_count(1)
    headings = await page.get_by_role("heading").all_inner_texts()
    assert headings == [
        "Plaudit",
        "Satisfaction",
        "Satisfaction over time",
        "Where",
        "Votes",
        "What people wrote",
        "Live",
        "Other signals",
    ]
    for chart in ("trend-chart", "votes-chart"):
        label = await page.locator(f"#{chart}").get_attribute("aria-label")
        assert label is not None
        assert "The data table below has all figures" in label


async def test_new_totals_are_announced_once(open_page: Open, seeded: Seeded) -> None:
    page = await open_page("/", key=seeded.known_key)
    announcer = page.locator("#announcer")
    await expect(announcer).to_contain_text("Satisfaction")
    before = await announcer.inner_text()
    await page.get_by_role("combobox", name="Source", exact=True).select_option("lunary")

    await expect(announcer).not_to_have_text(before)
    assert await announcer.get_attribute("role") == "status"


async def test_nothing_on_the_page_comes_from_anywhere_else(open_page: Open, seeded: Seeded) -> None:
    asked: list[str] = []
    page = await open_page("/", key=seeded.lively_key)
    page.on("request", lambda request: asked.append(request.url))
    await page.reload()
    await filled(page)

    assert len(asked) > 20
    assert [url for url in asked if not url.startswith(f"{seeded.site.url}/")] == []


async def test_the_policy_of_the_page_stops_inline_code(
    open_page: Open, seeded: Seeded, complaints: Complaints
) -> None:
    complaints.allow("Content Security Policy")
    page = await open_page("/", key=seeded.known_key)
    await page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = true'}))"
    )

    assert await page.evaluate("window.ran") is None
