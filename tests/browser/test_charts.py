import math
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser import known
from tests.browser.conftest import Open, Seeded

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]


async def drawn(page: Page, chart: str) -> list[list[float | None]]:
    """The data of a chart, as uPlot holds it: x first."""
    await expect(page.locator(f"#{chart} canvas")).to_be_visible()
    columns: list[list[float | None]] = await page.evaluate(
        f"[...document.getElementById('{chart}').plot.data].map((column) => [...column])"
    )
    return columns


def wilson(up: int, down: int) -> tuple[float, float]:
    """The 95 % Wilson interval, by its textbook formula."""
    votes, z = up + down, 1.959963984540054
    share = up / votes
    middle = (share + z * z / (2 * votes)) / (1 + z * z / votes)
    half = z / (1 + z * z / votes) * math.sqrt(share * (1 - share) / votes + z * z / (4 * votes * votes))
    return middle - half, middle + half


async def test_satisfaction_is_drawn_from_the_votes_that_hold(open_page: Open, seeded: Seeded) -> None:
    page = await open_page(f"/?{known.PERIOD}", key=seeded.known_key)
    x, high, low, before, share, parts = await drawn(page, "trend-chart")

    noon = int(known.FIRST_DAY.timestamp() * 1000) + 12 * 3_600_000
    assert x == [noon + day * 86_400_000 for day in range(known.DAYS)]
    assert share == pytest.approx(known.SATISFACTION)
    assert before == known.BEFORE
    assert parts == [None] * known.DAYS
    intervals = [wilson(up, down) if up + down else (None, None) for up, down in zip(known.UP, known.DOWN, strict=True)]
    assert low == pytest.approx([bounds[0] for bounds in intervals], abs=1e-6)
    assert high == pytest.approx([bounds[1] for bounds in intervals], abs=1e-6)


async def test_votes_are_stacked_with_the_bad_ones_on_the_ground(open_page: Open, seeded: Seeded) -> None:
    page = await open_page(f"/?{known.PERIOD}", key=seeded.known_key)
    _, total, up_and_down, down = await drawn(page, "votes-chart")

    assert down == known.DOWN
    assert up_and_down == [d + u for d, u in zip(known.DOWN, known.UP, strict=True)]
    assert total == [d + u + z for d, u, z in zip(known.DOWN, known.UP, known.UNDONE, strict=True)]


PIXELS = """(() => {
  const host = document.getElementById("votes-chart"), plot = host.plot;
  const context = plot.ctx;
  const at = (day, height) => {
    const x = plot.valToPos(plot.data[0][day], "x", true), y = plot.valToPos(height, "y", true);
    return [...context.getImageData(Math.round(x), Math.round(y), 1, 1).data.slice(0, 3)];
  };
  const probe = document.createElement("i");
  document.body.append(probe);
  const colour = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color.match(/\\d+/g).slice(0, 3).map(Number);
  };
  return {
    pixels: { low: at(3, 4), high: at(3, 10), above: at(3, 12.5), top: at(2, 4.5), gap: at(1, 3) },
    colours: { up: colour("up"), down: colour("down"), undone: colour("undone"), card: colour("card") },
  };
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_bars_on_the_canvas_have_the_colours_of_the_legend(
    open_page: Open, seeded: Seeded, scheme: str
) -> None:
    page = await open_page(f"/?{known.PERIOD}", key=seeded.known_key, color_scheme=scheme)
    await drawn(page, "votes-chart")
    found: dict[str, Any] = await page.evaluate(PIXELS)
    pixels, colours = found["pixels"], found["colours"]

    assert pixels["low"] == colours["down"]
    assert pixels["high"] == colours["up"]
    assert pixels["top"] == colours["undone"]
    assert pixels["above"] not in (colours["up"], colours["down"])
    assert pixels["gap"] not in (colours["up"], colours["down"])


async def test_the_chosen_theme_redraws_the_charts_and_is_remembered(open_page: Open, seeded: Seeded) -> None:
    page = await open_page(f"/?{known.PERIOD}", key=seeded.known_key, color_scheme="light")
    await drawn(page, "votes-chart")
    light = await page.evaluate(PIXELS)
    await page.get_by_role("button", name="Theme: Auto. Change to Light").click()
    await page.get_by_role("button", name="Theme: Light. Change to Dark").click()
    dark = await page.evaluate(PIXELS)

    assert dark["pixels"]["low"] == dark["colours"]["down"] != light["colours"]["down"]
    await page.reload()
    await expect(page.get_by_role("button", name="Theme: Dark. Change to Auto")).to_be_visible()
    assert (
        await page.evaluate(
            "getComputedStyle(document.body).colorScheme || getComputedStyle(document.documentElement).colorScheme"
        )
        == "dark"
    )


async def test_totals_say_what_the_votes_amount_to_and_whether_that_is_more_than_noise(
    open_page: Open, seeded: Seeded
) -> None:
    page = await open_page(f"/?{known.PERIOD}", key=seeded.known_key)
    up, down = sum(known.UP), sum(known.DOWN)
    low, high = wilson(up, down)

    await expect(page.locator(".hero-figure")).to_have_text(f"{up / (up + down) * 100:.1f}\u202f%")
    await expect(page.locator(".hero-interval")).to_contain_text(f"{low * 100:.1f}\u202f\u2013\u202f{high * 100:.1f}")
    await expect(page.locator(".verdict")).to_contain_text("No clear change")
    await expect(page.locator(".verdict")).to_contain_text("against as much time before, 100.0\u202f%")
    counts = await page.locator("#counts dd").all_inner_texts()
    assert [text.split()[0] for text in counts] == ["9", "11", "1", "9", "21", "22"]
    await expect(page.locator("#announcer")).to_contain_text("Satisfaction 45.0\u202f%")


async def test_each_chart_has_its_figures_as_a_table(open_page: Open, seeded: Seeded) -> None:
    page = await open_page(f"/?{known.PERIOD}", key=seeded.known_key)
    await expect(page.locator("#votes-chart canvas")).to_be_visible()
    await page.locator("#votes-table summary").click()
    await page.locator("#trend-table summary").click()

    votes = await page.locator("#votes-table tbody tr").all_inner_texts()
    assert [row.split("\t")[1:4] for row in votes] == [
        [str(up), str(down), str(undone)] for up, down, undone in zip(known.UP, known.DOWN, known.UNDONE, strict=True)
    ]
    trend = await page.locator("#trend-table tbody tr").all_inner_texts()
    assert [row.split("\t")[1] for row in trend] == ["75.0\u202f%", "\u2013", "50.0\u202f%", "33.3\u202f%"]
    assert trend[0].split("\t")[3] == "100.0\u202f%"


async def test_the_tooltip_tells_the_bucket_under_the_pointer(open_page: Open, seeded: Seeded) -> None:
    page = await open_page(f"/?{known.PERIOD}", key=seeded.known_key)
    over = page.locator("#votes-chart .u-over")
    box = await over.bounding_box()
    assert box is not None
    await over.hover(position={"x": box["width"] * 7 / 8, "y": 40})

    tip = page.locator("#votes-chart .tip")
    await expect(tip).to_contain_text("Up4")
    await expect(tip).to_contain_text("Down8")
    await expect(page.locator("#trend-chart .tip")).to_contain_text("33.3\u202f%")


async def test_dragging_over_a_chart_zooms_and_the_back_button_zooms_out(open_page: Open, seeded: Seeded) -> None:
    page = await open_page(f"/?{known.PERIOD}", key=seeded.known_key)
    await expect(page.locator("#trend-chart canvas")).to_be_visible()
    box = await page.locator("#trend-chart .u-over").bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    await page.mouse.move(box["x"] + box["width"] * 0.80, y)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] * 0.95, y, steps=5)
    await page.mouse.up()

    await expect(page.locator(".hero-figure")).to_have_text("33.3\u202f%")
    await page.go_back()
    await expect(page.locator(".hero-figure")).to_have_text("45.0\u202f%")


async def test_buckets_follow_the_time_zone_of_the_viewer(open_page: Open, seeded: Seeded) -> None:
    page = await open_page(f"/?{known.PERIOD.replace('&tz=UTC', '')}", key=seeded.known_key, timezone_id="Asia/Tokyo")
    x, *_ = await drawn(page, "votes-chart")

    # The period starts at nine in the morning there: its first day there began fifteen hours earlier.
    assert len(x) == known.DAYS + 1
    assert x[0] == int(known.FIRST_DAY.timestamp() * 1000) - 9 * 3_600_000 + 12 * 3_600_000


async def test_the_breakdown_compares_each_group_with_the_whole(open_page: Open, seeded: Seeded) -> None:
    page = await open_page(f"/?{known.PERIOD}", key=seeded.known_key)
    await expect(page.get_by_label("Break down by")).to_have_value("detail:model")
    rows = page.locator("#breakdown tbody tr")
    await expect(rows).to_have_count(2)

    texts = [" ".join(text.split()) for text in await rows.all_inner_texts()]
    assert "etude" in texts[0]
    assert "0.0\u202f%" in texts[0] or "0.0 %" in texts[0]
    assert "(below the whole)" in texts[0]
    assert "100.0" in texts[1]
    assert "(above the whole)" in texts[1]
    await page.get_by_label("Order").select_option("worst")
    await expect(rows.first).to_contain_text("etude")


async def test_signals_of_other_kinds_have_their_own_table(open_page: Open, seeded: Seeded) -> None:
    page = await open_page("/", key=seeded.known_key)

    row = page.locator("#signals-body tbody tr")
    await expect(row).to_have_count(1)
    await expect(row).to_contain_text("finished waited_to_finish")


async def test_the_verdict_follows_newcombes_interval_of_a_difference(open_page: Open, seeded: Seeded) -> None:
    page = await open_page("/", key=seeded.known_key)
    module = await page.evaluate("document.querySelector('script[type=module]').src.replace('main.js', 'stats.js')")

    def told(up: int, down: int) -> dict[str, float]:
        low, high = wilson(up, down)
        return {"satisfaction": up / (up + down), "satisfaction_low": low, "satisfaction_high": high}

    # The examples of the paper: 56/70 against 48/80, and 9/10 against 3/10 (Newcombe 1998, table II, method 10).
    for now, before, low, high in [((56, 14), (48, 32), 0.0524, 0.3339), ((9, 1), (3, 7), 0.1705, 0.8090)]:
        found = await page.evaluate(
            f"import('{module}').then((stats) => stats.difference(...{[told(*now), told(*before)]}))"
        )
        assert found["low"] == pytest.approx(low, abs=5e-5)
        assert found["high"] == pytest.approx(high, abs=5e-5)
        assert found["verdict"] == "better"
