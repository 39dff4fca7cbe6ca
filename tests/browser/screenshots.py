"""Takes the README's pictures from the real page on the real service: ``python -m tests.browser.screenshots docs``."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright

from services.standalone.embedded import embedded_clickhouse, embedded_valkey
from tests.browser import realistic
from tests.browser.site import CHROMIUM, CHROMIUM_ARGS, Site, langwatch, running_site

PROJECT = "assistant"
LIVE_FOR = 30.0
ROUNDS = 15
SHOTS: dict[str, dict[str, Any]] = {
    "page.png": {"viewport": {"width": 1440, "height": 1240}, "color_scheme": "light"},
    "page-dark-phone.png": {
        "viewport": {"width": 375, "height": 1200},
        "color_scheme": "dark",
        "device_scale_factor": 2,
        "is_mobile": True,
        "has_touch": True,
    },
}


async def shoot(browser: Browser, site: Site, key: str, target: Path, options: dict[str, Any]) -> None:
    context = await browser.new_context(locale="en-GB", timezone_id="Europe/Berlin", **options)
    await context.request.post(f"{site.url}/api/session", data={"key": key})
    page = await context.new_page()
    await page.goto(f"{site.url}/")
    await _filled(page)
    await page.screenshot(path=target)
    await context.close()
    print(f"{target}: {target.stat().st_size:,} bytes")  # noqa: T201


async def _live_on(site: Site) -> None:
    """So that there is a delay to tell of, and something new in the tail."""
    draw = random.Random(1)
    for number in range(ROUNDS):
        up = draw.random() < 0.8
        comment = draw.choice(realistic.GOOD if up else realistic.BAD["de"]) if number % 3 == 1 else None
        details = {"model": "atlas-2.1", "locale": "de"} | ({"feedback": comment} if comment else {})
        now = datetime.now(UTC)
        site.insert(
            [
                langwatch(
                    PROJECT, f"live_{number}", now, metrics={"vote": 1 if up else -1}, details=details, user="user_311"
                )
            ]
        )
        await asyncio.sleep(LIVE_FOR / ROUNDS)


async def _filled(page: Page) -> None:
    for part in ("#trend-chart canvas", "#breakdown tbody tr", "#said-list article", "#tail-list li", "#pipeline b"):
        await page.locator(part).first.wait_for()
    await page.wait_for_timeout(1000)


async def main(folder: Path) -> None:
    with (
        tempfile.TemporaryDirectory() as data,
        embedded_valkey(Path(data)) as (redis_url, _),
        embedded_clickhouse(Path(data)) as (clickhouse_url, _),
        running_site(Path(data), clickhouse_url, redis_url) as site,
    ):
        key = site.key(PROJECT)
        events = list(realistic.events(PROJECT, datetime.now(UTC)))
        site.insert(events)
        site.wait_for(key, len({event.dedupe_id for event in events}))
        await _live_on(site)
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
            for name, options in SHOTS.items():
                await shoot(browser, site, key, folder / name, options)
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
