import httpx
import pytest
from playwright.async_api import expect

from tests.browser.conftest import Complaints, Open, Seeded

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]


async def test_a_read_key_opens_the_page_and_is_kept_in_a_cookie_no_script_can_read(
    open_page: Open, seeded: Seeded
) -> None:
    page = await open_page("/")
    await page.get_by_label("Read key").fill(seeded.known_key)
    await page.get_by_role("button", name="Log in").click()

    await expect(page.get_by_role("heading", name="Satisfaction", exact=True)).to_be_visible()
    await expect(page.locator("#project")).to_have_text("known")
    [cookie] = await page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert seeded.known_key not in cookie["value"]
    assert await page.evaluate("document.cookie") == ""
    assert await page.evaluate("JSON.stringify([localStorage, sessionStorage])") == "[{},{}]"
    await page.reload()
    await expect(page.get_by_role("heading", name="Satisfaction", exact=True)).to_be_visible()


async def test_a_wrong_key_is_told_and_can_be_corrected(
    open_page: Open, seeded: Seeded, complaints: Complaints
) -> None:
    complaints.allow(r"status of 401 .*/api/session$")
    page = await open_page("/")
    await page.get_by_label("Read key").fill("plaudit-read-nobody-has-this")
    await page.keyboard.press("Enter")

    await expect(page.locator("#log-in-error")).to_contain_text("no read key")
    await expect(page.get_by_label("Read key")).to_be_focused()
    await expect(page.locator("#dashboard")).to_be_hidden()
    await page.get_by_label("Read key").fill(f"  {seeded.known_key} ")
    await page.keyboard.press("Enter")
    await expect(page.locator("#dashboard")).to_be_visible()


async def test_logging_out_ends_the_session(open_page: Open, seeded: Seeded) -> None:
    page = await open_page("/", key=seeded.known_key)
    await page.get_by_role("button", name="Log out").click()

    await expect(page.get_by_label("Read key")).to_be_focused()
    assert await page.context.cookies() == []
    await expect(page.locator("#dashboard")).to_be_hidden()


async def test_a_session_that_ends_meanwhile_leads_back_to_the_log_in(
    open_page: Open, seeded: Seeded, complaints: Complaints
) -> None:
    complaints.allow("status of 401")
    page = await open_page("/", key=seeded.known_key)
    await expect(page.locator("#hero .hero-figure")).to_be_visible()
    await page.context.clear_cookies()
    # By script: any question of the page's own clock may be the first to find out, and then there is nothing to click.
    await page.evaluate("document.querySelector('[name=range][value=\"7d\"]').click()")

    await expect(page.locator("#log-in-error")).to_contain_text("session has ended")
    await expect(page.get_by_label("Read key")).to_be_visible()


async def test_a_form_that_is_sent_without_scripts_puts_no_key_into_an_address(open_page: Open, seeded: Seeded) -> None:
    page = await open_page("/", java_script_enabled=False)
    form = page.locator("#log-in-form")

    assert await form.get_attribute("method") == "post"
    assert await page.locator("#key").get_attribute("name") is None
    await expect(page.locator("noscript p")).to_contain_text("JavaScript")


async def test_no_answer_of_the_service_lets_another_site_read_it(seeded: Seeded) -> None:
    async with httpx.AsyncClient(base_url=seeded.site.url, headers={"origin": "https://elsewhere.example"}) as client:
        for path in ("/", "/api/session", "/api/summary"):
            answer = await client.get(path)
            assert not [name for name in answer.headers if name.startswith("access-control-")]
