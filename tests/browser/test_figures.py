"""How long people wait: from a fault to the banner, from a usable link to its end; published in ``docs/browser.md``.

Only what does not depend on the machine is asserted.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from chaos.toxiproxy.provision import Binary
from resilience.experiment.primitives import Direction, Drop

from .figures import FIGURES
from .harness import BrowserWorld, browser_world, collect_records, given_up, joined

pytestmark = pytest.mark.asyncio(loop_scope="module")

CUTS, HOLES = 5, 3

WATCH = """() => {
  window.shown = [];
  const note = () => {
    const banner = document.querySelector(".banner")?.className ?? "";
    if (window.shown.at(-1)?.[1] !== banner) window.shown.push([performance.timeOrigin + performance.now(), banner]);
  };
  note();
  new MutationObserver(note).observe(document.body, { childList: true, subtree: true, attributes: true });
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(binary: Binary, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BrowserWorld]:
    """The world of all these tests."""
    async with browser_world(tmp_path_factory.mktemp("figures"), binary) as started:
        yield started


async def test_the_banner_after_a_cut_and_its_end(world: BrowserWorld) -> None:
    async with world.hosted() as quiz, world.profile() as context:
        page = await joined(context, world.url(quiz.event))
        await page.evaluate(WATCH)
        for _ in range(CUTS):
            struck = time.time()
            await world.cut_off()
            await expect(page.locator(".banner.amber")).to_be_visible()
            await world.heal()
            healed = time.time()
            await expect(page.locator(".banner.amber")).to_have_count(0)
            await expect(page.locator(".banner")).to_have_count(0)
            FIGURES.time("cut_to_amber_s", await shown_after(page, "banner amber", struck))
            FIGURES.time("reachable_to_live_s", await shown_after(page, "banner green", healed))


async def test_the_banner_after_a_silence_and_its_end(world: BrowserWorld) -> None:
    async with world.hosted() as quiz, world.profile() as context:
        page = await joined(context, world.url(quiz.event))
        await page.evaluate(WATCH)
        hole = Drop(Direction.BOTH)
        for _ in range(HOLES):
            struck = time.time()
            await world.impose(hole)
            await expect(page.locator(".banner.amber")).to_be_visible()
            await world.lift(hole)
            healed = time.time()
            await expect(page.locator(".banner")).to_have_count(0)
            FIGURES.time("silence_to_amber_s", await shown_after(page, "banner amber", struck))
            FIGURES.time("reachable_to_live_s", await shown_after(page, "banner green", healed))


async def test_the_red_banner_after_the_last_attempt(world: BrowserWorld) -> None:
    """In the page's own time, which is run ahead."""
    async with world.hosted() as quiz, world.profile() as context:
        page = await context.new_page()
        records = await collect_records(page)
        await given_up(world, page, quiz.event)
        (gave_up,) = await records("client.gave_up")
        FIGURES.time("loss_to_red_s", gave_up["value"])
        assert gave_up["value"] >= sum((1, 2, 4, 8, 16, 30, 30, 30, 30, 30))


async def shown_after(page: Page, banner: str, since: float) -> float:
    """Seconds from ``since``, a time of day, to the moment at which the page showed this banner."""
    shown = await page.evaluate("window.shown")
    return next(float(at) / 1000 - since for at, name in shown if at / 1000 >= since and name == banner)
